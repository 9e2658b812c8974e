"""Apply a plan: adopt or mark rows, so that the ordinary jobs call Zoom.

Each action has a transaction of its own, which first checks whether the action is still right. So applying a plan can
be interrupted and repeated.
"""

from collections.abc import Callable
from uuid import uuid4

from sqlalchemy import select

from app import commands, facts
from app.accounts.models import Host
from app.core import database
from app.events import service as events
from app.meetings import service as meetings
from app.meetings import sync_outcome
from app.meetings.models import Meeting
from app.reconciling import apply_registrant, meeting_plan, stale_invites, strays
from app.reconciling.inventory import Inventory
from app.reconciling.meeting_diff import IN_CALENDARS
from app.reconciling.planning import AccountPlan
from app.resources import Resources


async def apply(resources: Resources, plan: AccountPlan, on_step: Callable[[], None]) -> None:
    """Apply the plan of one account. `on_step` is called after each action."""
    for action in plan.meetings:
        async with resources.db.transaction() as tx:
            await _apply(tx, resources, plan.inventory, action)
        on_step()
    for batch in plan.registrants:
        for each in batch.actions:
            async with resources.db.transaction() as tx:
                await apply_registrant.apply(tx, resources, plan.inventory, batch.number, batch.event_id, each)
            on_step()


async def _apply(tx: database.Tx, resources: Resources, inventory: Inventory, action: meeting_plan.Action) -> None:
    if isinstance(action, meeting_plan.Adopt):
        await _adopt(tx, resources, inventory, action)
    elif isinstance(action, meeting_plan.Recreate):
        await _recreate(tx, inventory, action)
    elif isinstance(action, meeting_plan.Correct):
        await _correct(tx, inventory, action)
    elif isinstance(action, meeting_plan.Retire):
        await _retire(tx, inventory, action)
    elif isinstance(action, meeting_plan.Delete):
        await strays.store(tx, inventory.account_id, action.number)
    elif isinstance(action, meeting_plan.ClearOrphan):
        await _clear(tx, action)


async def _adopt(tx: database.Tx, resources: Resources, inventory: Inventory, action: meeting_plan.Adopt) -> None:
    """Let a meeting at Zoom serve its event, which has no meeting that Zoom knows.

    We do not know which plan Zoom last accepted for this meeting, so the next sync sends the whole plan.
    """
    event = await events.lock(tx, action.event_id)
    if event is None or not event.on_zoom or event.host_id is None:
        return
    found = next(one for one in inventory.found_meetings if one.number == action.number)
    host = await tx.session.get_one(Host, event.host_id)
    if host.zoom_user_id != found.host:
        return
    row = await meetings.current(tx, event.id)
    if row is not None and row.zoom_meeting_id is not None:
        if row.zoom_meeting_id not in inventory.gone:
            return
        await _retire_gone(tx, row)
        row = None
    if row is None:
        row = Meeting(event_id=event.id, state="pending", created_at=tx.now, orphan_markers=[], left_out={}, id=uuid4())
        tx.session.add(row)
    elif row.attempted_at is not None and row.marker != found.marker:
        row.orphan_markers = [*row.orphan_markers, row.marker]
    row.account_id = host.account_id
    row.host_id = host.id
    row.marker = found.marker
    row.zoom_meeting_id = found.number
    row.attempted_at = None
    row.synced_at = tx.now
    row.last_sent = None
    row.synced_version = None
    sync_outcome.store_observation(row, inventory.zoom_meetings[found.number], resources)
    sync_outcome.mark_scheduled(row)
    if event.status(tx.now) == "ended" and (context := await meetings.load_context(tx, event.id)):
        row.last_sent = context.desired_plan(row)  # a meeting that is over need not be changed
    tx.record(facts.MeetingSynced(event.id, host.account_id))
    tx.record(commands.SyncMeetingNow(event.id, host.account_id))
    tx.publish(events.topic(event.id))
    await stale_invites.resend_to_event(tx, event)


async def _retire_gone(tx: database.Tx, row: Meeting) -> None:
    """Retire a meeting that is gone at Zoom already. The flush frees its event for another row."""
    row.state = "retired"
    row.join_url = None
    row.last_error = None
    row.stale_since = None
    await tx.session.flush()


async def _recreate(tx: database.Tx, inventory: Inventory, action: meeting_plan.Recreate) -> None:
    """Retire a meeting that is gone at Zoom, and have the event's sync create another one."""
    event = await events.lock(tx, action.event_id)
    row = await meetings.lock(tx, action.row_id)
    if event is None or row.state not in meetings.ACTIVE_STATES or row.zoom_meeting_id not in inventory.gone:
        return
    await _retire_gone(tx, row)
    tx.record(facts.MeetingSynced(row.event_id, row.account_id))
    tx.record(commands.SyncMeetingNow(row.event_id, row.account_id))
    tx.publish(events.topic(row.event_id))
    await stale_invites.resend_to_event(tx, event)


async def _correct(tx: database.Tx, inventory: Inventory, action: meeting_plan.Correct) -> None:
    """Forget which plan Zoom last accepted, so that the next sync sends the whole plan."""
    event = await events.lock(tx, action.event_id)
    row = await meetings.lock(tx, action.row_id)
    if event is None or row.state not in meetings.ACTIVE_STATES or row.last_sent is None:
        return
    row.last_sent = None
    row.observed = None
    row.stale_since = tx.now
    tx.record(commands.SyncMeetingNow(row.event_id, row.account_id))
    if inventory.changed[action.number] & IN_CALENDARS:
        await stale_invites.resend_to_event(tx, event)


async def _retire(tx: database.Tx, inventory: Inventory, action: meeting_plan.Retire) -> None:
    """Insert a retiring row for a meeting of an event, so that a job deletes the meeting.

    Nothing happens if the event knows the meeting by now.
    """
    found = next(one for one in inventory.found_meetings if one.number == action.number)
    event = await events.lock(tx, action.event_id)
    # A host who joined the account after the backup is not known yet. Deleting does not need the host, so any host of
    # the account will do.
    of_account = select(Host).where(Host.account_id == inventory.account_id)
    host = await tx.session.scalar(of_account.order_by((Host.zoom_user_id == found.host).desc(), Host.id).limit(1))
    known = select(Meeting.id).where(Meeting.event_id == action.event_id, Meeting.zoom_meeting_id == action.number)
    if event is None or host is None or await tx.session.scalar(known) is not None:
        return
    row = Meeting(
        id=uuid4(), event_id=action.event_id, account_id=inventory.account_id, host_id=host.id, state="scheduled",
        zoom_meeting_id=action.number, marker=found.marker, orphan_markers=[], left_out={}, created_at=tx.now,
    )  # fmt: skip
    meetings.retire(tx, row)
    tx.session.add(row)


async def _clear(tx: database.Tx, action: meeting_plan.ClearOrphan) -> None:
    """Have the job of the row run, which deletes its orphans."""
    row = await tx.session.get_one(Meeting, action.row_id)
    if row.state in meetings.RETIRED_STATES:
        row.state = "retiring"
        tx.record(commands.DeleteMeeting(row.id, row.account_id))
    else:
        tx.record(commands.SyncMeetingNow(row.event_id, row.account_id))
