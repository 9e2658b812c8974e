"""Creates, changes, cancels and deletes events and stores their live state, in the caller's transaction.

Nothing here calls Zoom.
"""

from datetime import datetime
from uuid import UUID, uuid4

from app.accounts import hosts, quotas, reservations
from app.core.database import Tx
from app.core.errors import Problem, field_error
from app.events import event_times, spaces
from app.events.event_input import EventChanges, EventFields, NewEvent, from_input, merged
from app.events.models import Event
from app.facts import EventChanged, EventEnded, EventWentLive, LiveStateChanged

# Events that one community may create in an hour: far more than people schedule, so only a script that runs wild
# meets the limit.
MAX_EVENTS_PER_HOUR = 1000


def topic(event_id: UUID) -> str:
    """Return the pub/sub topic on which every change of an event is published."""
    return f"event:{event_id}"


async def get(tx: Tx, event_id: UUID) -> Event | None:
    """Return an event, also if it is deleted; None if there is none."""
    return await tx.session.get(Event, event_id)


async def lock(tx: Tx, event_id: UUID) -> Event | None:
    """Return an event as it is now, also if it is deleted, and lock it until the transaction ends.

    The lock stops other changes of the event. It does not stop inserts of rows that reference the event, above all of
    tickets: nobody who joins waits for an edit.
    """
    return await tx.session.get(Event, event_id, with_for_update={"key_share": True}, populate_existing=True)


async def create(tx: Tx, community_id: str, created_by: str, new_event: NewEvent) -> Event:
    """Create a community event; `created_by` is a member id.

    Raises a 422 that names the field that is not allowed, `starts-in-past` for a start before now, `host-busy` (409)
    with the hosts that are free, and `too-many` (429) when the community has used up `MAX_EVENTS_PER_HOUR`.
    """
    fields = from_input(new_event)
    event_times.check_start(fields.starts_at, tx.now)
    await _check_space(tx, community_id, fields)
    await _check_hosts(tx, community_id, fields)
    too_many = "Very many events were scheduled in this community: wait a while."
    await quotas.consume_hourly(tx, f"event:{community_id}", MAX_EVENTS_PER_HOUR, too_many)
    event = Event(
        id=uuid4(),
        community_id=community_id,
        kind="community_event",
        version=1,
        created_by=created_by,
        created_at=tx.now,
        updated_at=tx.now,
        **fields.columns(),
    )
    tx.session.add(event)
    await tx.session.flush()
    await _reserve(tx, event)
    await _record_change(tx, event, event.host_id)
    return event


async def change(tx: Tx, event: Event, changes: EventChanges) -> bool:
    """Change a locked event and return whether anything changed.

    Values equal to the stored ones are no change. Raises what `create` raises, and `event-closed` (409) for an event
    that is cancelled or over, and for moving a live event.
    """
    before = EventFields.from_event(event)
    after = merged(before, changes)
    if after == before:
        return False
    _check_open(event, before, after, tx.now)
    await _check(tx, event, before, after)
    for name, value in after.columns().items():
        setattr(event, name, value)
    event.version += 1
    event.updated_at = tx.now
    await tx.session.flush()
    if after.rescheduled(before) or after.delivery_changed(before):
        await _reserve(tx, event)
    await _record_change(tx, event, after.host_id or before.host_id)
    return True


async def cancel(tx: Tx, event: Event) -> bool:
    """Cancel a locked event in any state. Returns False if it was cancelled already."""
    if event.cancelled_at is not None:
        return False
    event.cancelled_at = tx.now
    await _close(tx, event)
    return True


async def delete(tx: Tx, event: Event) -> bool:
    """Cancel a locked event and hide it. Returns False if it was deleted already."""
    if event.deleted_at is not None:
        return False
    event.cancelled_at = event.cancelled_at or tx.now
    event.deleted_at = tx.now
    await _close(tx, event)
    return True


async def update_live_state(
    tx: Tx, event_id: UUID, live_at: datetime | None, ended_at: datetime | None, ended_runs: int
) -> None:
    """Store what the meeting's instances say now, and record what follows from it.

    `live_at` tells since when an instance is open, `ended_at` when the last one that counts ended, and `ended_runs` how
    many that count are over. A run whose end is the first thing we learn of it went live as well, so both facts are
    recorded. This is no edit: the version stays, so that nobody's change is refused because the meeting began
    meanwhile.
    """
    event = await lock(tx, event_id)
    if event is None or (event.live_at, event.ended_at, event.ended_runs) == (live_at, ended_at, ended_runs):
        return
    cancelled_at = event.cancelled_at
    was_live = event.live_at is not None and (cancelled_at is None or event.live_at < cancelled_at)
    run_ended = cancelled_at is None and ended_runs > event.ended_runs
    went_live = cancelled_at is None and live_at is not None and event.live_at is None
    if went_live or (run_ended and (live_at is not None or not was_live)):
        tx.record(EventWentLive(event_id))
    if live_at is None and (was_live or run_ended):
        tx.record(EventEnded(event_id))
    event.live_at, event.ended_at, event.ended_runs = live_at, ended_at, ended_runs
    tx.record(LiveStateChanged(event_id))
    tx.publish(topic(event_id))


def _check_open(event: Event, before: EventFields, after: EventFields, now: datetime) -> None:
    """Raise `event-closed` if the state of the event does not allow the change."""
    status = event.status(now)
    if status == "cancelled":
        raise Problem("event-closed", "This event was cancelled; it takes no more changes.")
    if status == "ended":
        raise Problem("event-closed", "This event is over; it takes no more changes.")
    if status == "live" and (after.rescheduled(before) or after.delivery_changed(before)):
        raise Problem(
            "event-closed", "This event is live: until it ends it cannot be moved, neither in time nor elsewhere."
        )


async def _check(tx: Tx, event: Event, before: EventFields, after: EventFields) -> None:
    """Check the fields that change. A field that stays is not checked: what it names may be gone by now."""
    if after.starts_at != before.starts_at:
        event_times.check_start(after.starts_at, tx.now)
    if after.ends_at != before.ends_at and after.ends_at <= tx.now:
        raise field_error("ends_at", "is in the past")
    if after.space_id != before.space_id:
        await _check_space(tx, event.community_id, after)
    if after.delivery_changed(before) or after.alternative_hosts != before.alternative_hosts:
        await _check_hosts(tx, event.community_id, after)


async def _check_space(tx: Tx, community_id: str, fields: EventFields) -> None:
    if fields.space_id is not None and await spaces.get(tx, community_id, fields.space_id) is None:
        raise field_error("space_id", "is not a space of this community")


async def _check_hosts(tx: Tx, community_id: str, fields: EventFields) -> None:
    """Check the host and the alternative hosts.

    Zoom documents for `settings.alternative_hosts` that they must be licensed users of the host's account.
    """
    if fields.host_id is None:
        return
    host = await hosts.require_usable(tx, community_id, fields.host_id)
    for host_id in fields.alternative_hosts:
        other = await hosts.require_usable(tx, community_id, host_id, field="alternative_hosts")
        if other.account_id != host.account_id:
            raise field_error("alternative_hosts", "must belong to the same Zoom account as the host")
        if not other.licensed:
            raise field_error("alternative_hosts", "must be licensed Zoom users")


async def _reserve(tx: Tx, event: Event) -> None:
    """Reserve the host for the time of the event, or release the reservation of an event that needs none."""
    host = await hosts.get(tx, event.host_id) if event.on_zoom and event.host_id else None
    if host:
        key = await reservations.reservation_key(tx, host, event.id)
        await reservations.reserve(tx, [key], event.id, event.starts_at, event.ends_at, host.id)
    else:
        await reservations.release(tx, event.id)


async def _close(tx: Tx, event: Event) -> None:
    """Release the host of a cancelled event and record the change."""
    event.version += 1
    event.updated_at = tx.now
    await tx.session.flush()
    await reservations.release(tx, event.id)
    await _record_change(tx, event, event.host_id)


async def _record_change(tx: Tx, event: Event, host_id: UUID | None) -> None:
    """Record that an event changed.

    The sync calls Zoom in the account of `host_id`. For an event taken off Zoom that is the host it had before.
    """
    host = await hosts.get(tx, host_id) if host_id else None
    tx.record(EventChanged(event.id, host.account_id if host else None))
    tx.publish(topic(event.id))
