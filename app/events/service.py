"""Events made, changed, cancelled and deleted, in the caller's transaction. Nothing here talks to Zoom."""

from datetime import datetime
from uuid import UUID, uuid4

from app.accounts import budgets, hosts, reservations
from app.core.db import Tx
from app.core.errors import Problem, wrong_field
from app.events import schedule, spaces
from app.events.models import Event
from app.events.terms import EventChanges, NewEvent, Terms, changed, drafted
from app.facts import EventChanged, EventEnded, EventWentLive, LiveChanged

EVENTS_AN_HOUR = 1000  # made in one community


def topic(event_id: UUID) -> str:
    """What is rung whenever something about an event has changed."""
    return f"event:{event_id}"


async def get(tx: Tx, event_id: UUID) -> Event | None:
    """An event as it is, deleted ones too."""
    return await tx.session.get(Event, event_id)


async def lock(tx: Tx, event_id: UUID) -> Event | None:
    """An event as it is now, deleted ones too, locked against other changes until the end of the transaction; rows that
    reference it can still be written, tickets above all."""
    return await tx.session.get(Event, event_id, with_for_update={"key_share": True}, populate_existing=True)


async def create(tx: Tx, community_id: str, created_by: str, said: NewEvent) -> Event:
    """A community event on the terms said; `created_by` is a member id.

    422 names a field that cannot be, `starts-in-past` a start before now; `host-busy` (409) carries the free hosts,
    `too-many` (429) comes after so many of a community in an hour.
    """
    terms = drafted(said)
    schedule.check_start(terms.starts_at, tx.now)
    await _check_space(tx, community_id, terms)
    await _check_hosts(tx, community_id, terms)
    often = "Very many events were scheduled in this community: wait a while."
    await budgets.spend_hourly(tx, f"event:{community_id}", EVENTS_AN_HOUR, often)
    event = Event(
        id=uuid4(),
        community_id=community_id,
        kind="community_event",
        version=1,
        created_by=created_by,
        created_at=tx.now,
        updated_at=tx.now,
        **terms.columns(),
    )
    tx.session.add(event)
    await tx.session.flush()
    await _reserve(tx, event)
    await _say_changed(tx, event, event.host_id)
    return event


async def change(tx: Tx, event: Event, said: EventChanges) -> bool:
    """Change a locked event; returns whether anything did. What comes to the same as before is no change.

    Beside what `create` refuses: `event-closed` (409) for one that is cancelled or over, and for moving a live one.
    """
    before = Terms.of(event)
    wanted = changed(before, said)
    if wanted == before:
        return False
    _check_open(event, before, wanted, tx.now)
    await _check(tx, event, before, wanted)
    for name, value in wanted.columns().items():
        setattr(event, name, value)
    event.version += 1
    event.updated_at = tx.now
    await tx.session.flush()
    if wanted.moved(before) or wanted.carried_otherwise(before):
        await _reserve(tx, event)
    await _say_changed(tx, event, wanted.host_id or before.host_id)
    return True


async def cancel(tx: Tx, event: Event) -> bool:
    """Cancel a locked event, whatever its state; returns whether it was not cancelled before."""
    if event.cancelled_at is not None:
        return False
    event.cancelled_at = tx.now
    await _close(tx, event)
    return True


async def delete(tx: Tx, event: Event) -> bool:
    """Cancel a locked event and hide it; returns whether it was not deleted before."""
    if event.deleted_at is not None:
        return False
    event.cancelled_at = event.cancelled_at or tx.now
    event.deleted_at = tx.now
    await _close(tx, event)
    return True


async def note_instances(
    tx: Tx, event_id: UUID, live_at: datetime | None, ended_at: datetime | None, holdings: int
) -> None:
    """What the meeting's instances say now: since when one is open, when the last one that counts ended, and how many
    that count are over. One that was over before it was heard of went live, too.

    It is no edit: the version stays, so that nobody's change is refused because the meeting began meanwhile.
    """
    event = await lock(tx, event_id)
    if event is None or (event.live_at, event.ended_at, event.holdings) == (live_at, ended_at, holdings):
        return
    cancelled_at = event.cancelled_at
    was_live = event.live_at is not None and (cancelled_at is None or event.live_at < cancelled_at)
    went_by = cancelled_at is None and holdings > event.holdings
    opened = cancelled_at is None and live_at is not None and event.live_at is None
    if opened or (went_by and (live_at is not None or not was_live)):
        tx.record(EventWentLive(event_id))
    if live_at is None and (was_live or went_by):
        tx.record(EventEnded(event_id))
    event.live_at, event.ended_at, event.holdings = live_at, ended_at, holdings
    tx.record(LiveChanged(event_id))
    tx.ring(topic(event_id))


def _check_open(event: Event, before: Terms, wanted: Terms, now: datetime) -> None:
    status = event.status(now)
    if status == "cancelled":
        raise Problem("event-closed", "This event was cancelled; it takes no more changes.")
    if status == "ended":
        raise Problem("event-closed", "This event is over; it takes no more changes.")
    if status == "live" and (wanted.moved(before) or wanted.carried_otherwise(before)):
        raise Problem(
            "event-closed", "This event is live: until it ends it cannot be moved, neither in time nor elsewhere."
        )


async def _check(tx: Tx, event: Event, before: Terms, wanted: Terms) -> None:
    if wanted.starts_at != before.starts_at:
        schedule.check_start(wanted.starts_at, tx.now)
    if wanted.ends_at != before.ends_at and wanted.ends_at <= tx.now:
        raise wrong_field("ends_at", "is in the past")
    if wanted.space_id != before.space_id:
        await _check_space(tx, event.community_id, wanted)
    if wanted.carried_otherwise(before) or wanted.alternative_hosts != before.alternative_hosts:
        await _check_hosts(tx, event.community_id, wanted)


async def _check_space(tx: Tx, community_id: str, terms: Terms) -> None:
    if terms.space_id is not None and await spaces.get(tx, community_id, terms.space_id) is None:
        raise wrong_field("space_id", "is not a space of this community")


async def _check_hosts(tx: Tx, community_id: str, terms: Terms) -> None:
    """Alternative hosts must be licensed users of the host's account, says Zoom of `settings.alternative_hosts`."""
    if terms.host_id is None:
        return
    host = await hosts.usable(tx, community_id, terms.host_id)
    for host_id in terms.alternative_hosts:
        other = await hosts.usable(tx, community_id, host_id, field="alternative_hosts")
        if other.account_id != host.account_id:
            raise wrong_field("alternative_hosts", "must belong to the same Zoom account as the host")
        if not other.licensed:
            raise wrong_field("alternative_hosts", "must be licensed Zoom users")


async def _reserve(tx: Tx, event: Event) -> None:
    host = await hosts.get(tx, event.host_id) if event.on_zoom and event.host_id else None
    if host:
        subject = await reservations.subject_of(tx, host, event.id)
        await reservations.hold(tx, [subject], event.id, event.starts_at, event.ends_at, host.id)
    else:
        await reservations.release(tx, event.id)


async def _close(tx: Tx, event: Event) -> None:
    event.version += 1
    event.updated_at = tx.now
    await tx.session.flush()
    await reservations.release(tx, event.id)
    await _say_changed(tx, event, event.host_id)


async def _say_changed(tx: Tx, event: Event, host_id: UUID | None) -> None:
    """`host_id` is whose account the sync will call: for an event taken off Zoom, the host it had."""
    host = await hosts.get(tx, host_id) if host_id else None
    tx.record(EventChanged(event.id, host.account_id if host else None))
    tx.ring(topic(event.id))
