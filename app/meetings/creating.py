"""Creating a meeting exactly once, although the answer may be lost.

An attempt is committed before the call. An open attempt found later means that the outcome is unknown: Zoom's own
`meeting.created` leads to the meeting, which is ours if our marker heads its agenda. Ten minutes on, it is created
once more, and what the first attempt may have made is an orphan, deleted whenever it appears.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from app import facts
from app.accounts import budgets, grants, reservations
from app.accounts.models import Host
from app.clients.zoom import AccountClient, MeetingBody, NotFound, OutcomeUnknown, ZoomError
from app.clients.zoom import Meeting as Said
from app.core import logs
from app.core.outbox import NotNow
from app.core.work import Work
from app.inbox import service as inbox
from app.meetings import service
from app.meetings.models import Meeting
from app.meetings.plan import Plan, creation, has_marker, new_passcode
from app.resources import Resources

# Zoom's clock and ours may differ by this much.
SKEW = timedelta(minutes=1)
USED_UP = "Zoom takes 100 new or changed meetings of one host a day, and today's are used up."
log = logs.get("meetings")


class Creation(NamedTuple):
    """A meeting to be made: our row, whose it is to be at Zoom, the plan under the row's marker, and the version of the
    event it is the plan of."""

    row: Meeting
    zoom_user_id: str
    plan: Plan
    version: int


async def create(work: Work[Resources], situation: service.Situation) -> None:
    """Create the meeting the event wants, unless an earlier attempt may have done so already."""
    assert situation.host is not None  # noqa: S101 - `wanted` was asked first
    async with work.transaction() as tx:
        row = situation.meeting or await service.begin(tx, situation)
    zoom = await grants.zoom(work.resources, row.account_id)
    if row.attempted_at is not None:
        found = await _made_earlier(work, zoom, row, [row.marker], row.attempted_at)
        if found:
            await _adopt(work, row, found[0], found=True)
            return
        if not await _given_up(work, row, row.attempted_at):
            return
    wanted = Creation(row, situation.host.zoom_user_id, situation.plan(row.marker), situation.event.version)
    made = await _attempt(work, zoom, wanted)
    if made is not None:
        await _adopt(work, row, made)


async def _attempt(work: Work[Resources], zoom: AccountClient, wanted: Creation) -> Said | None:
    """The meeting Zoom made; None where nobody knows whether it did."""
    body: MeetingBody = creation(wanted.plan, new_passcode())
    subject = reservations.of_host(wanted.zoom_user_id)
    async with budgets.counted(work.resources, subject, budgets.MEETINGS_PER_HOST, USED_UP):
        await _note_attempt(work, wanted, under_way=True)
        try:
            return await zoom.create_meeting(wanted.zoom_user_id, body)
        except OutcomeUnknown as error:
            if error.operation == "create_meeting":
                await _unknown(work, wanted.row, error)
                return None
            # A token could not be renewed: the call was never made, or refused before anything was done.
            await _note_attempt(work, wanted, under_way=False)
            raise
        except (ZoomError, NotNow):
            await _note_attempt(work, wanted, under_way=False)
            raise


async def _note_attempt(work: Work[Resources], wanted: Creation, *, under_way: bool) -> None:
    async with work.transaction() as tx:
        row = await service.lock(tx, wanted.row.id)
        row.state, row.pushed = "pending", wanted.plan if under_way else None
        row.attempted_at = tx.now if under_way else None
        row.carried_version = wanted.version


async def _unknown(work: Work[Resources], row: Meeting, error: OutcomeUnknown) -> None:
    log.warning("creation without an answer", event_id=work.key)
    async with work.transaction() as tx:
        attempted_at = (await service.lock(tx, row.id)).attempted_at or tx.now
    error.retry_at = attempted_at + service.UNKNOWN_FOR
    async with work.done(error.retry_at) as tx:
        await service.show_error(tx, work.id, error)
        (await service.lock(tx, row.id)).state = "unknown"
        tx.ring(f"event:{work.id}")


async def _given_up(work: Work[Resources], row: Meeting, attempted_at: datetime) -> bool:
    """Whether it is time to create once more; until then, and after a second loss, the row waits."""
    until = attempted_at + service.UNKNOWN_FOR
    expired = work.resources.clock.now() >= until
    if expired and not row.orphan_markers:
        async with work.transaction() as tx:
            locked = await service.lock(tx, row.id)
            service.give_up(locked)
        row.marker, row.orphan_markers = locked.marker, locked.orphan_markers
        return True
    async with work.done(None if expired else until) as tx:
        waiting = await service.lock(tx, row.id)
        waiting.state = "failed" if expired else "unknown"
        if expired and waiting.last_error:
            waiting.last_error = {**waiting.last_error, "retry_at": None}
        tx.ring(f"event:{work.id}")
    return False


async def _adopt(work: Work[Resources], row: Meeting, made: Said, *, found: bool = False) -> None:
    """The meeting exists: keep its number and its link, sealed, and tell those who wait for it.

    One that was `found` is what was wanted when it was asked for, so it is compared with what is wanted by now.
    """
    resources = work.resources
    async with work.done() as tx:
        meeting = await service.lock(tx, row.id)
        meeting.zoom_meeting_id, meeting.attempted_at = made.id, None
        meeting.state, meeting.last_error = "scheduled", service.possible_orphan(meeting)
        meeting.synced_at = tx.now
        service.observe(meeting, made, resources.seal, resources.settings.zoom_origins)
        tx.record(facts.MeetingSynced(work.id, row.account_id))
        if found:
            tx.record(facts.SyncAsked(work.id, row.account_id))
        tx.ring(f"event:{work.id}")


async def clear_orphans(work: Work[Resources], zoom: AccountClient, row: Meeting) -> None:
    """Delete at Zoom what attempts without answer made after all, as far as Zoom has spoken of it."""
    if not row.orphan_markers:
        return
    since = max(row.created_at, work.resources.clock.now() - service.LOOKED_FOR)
    orphans = await _made_earlier(work, zoom, row, row.orphan_markers, since)
    for orphan in orphans:
        if orphan.id != row.zoom_meeting_id:
            await delete(zoom, orphan.id)
    gone = {marker for marker in row.orphan_markers for orphan in orphans if has_marker(orphan.agenda, marker)}
    if gone:
        async with work.transaction() as tx:
            cleared = await service.lock(tx, row.id)
            cleared.orphan_markers = [marker for marker in row.orphan_markers if marker not in gone]


async def delete(zoom: AccountClient, number: int) -> None:
    """Delete a meeting at Zoom. Gone already is as good."""
    try:
        await zoom.delete_meeting(number)
    except NotFound:
        log.info("meeting was gone already")


async def _made_earlier(
    work: Work[Resources], zoom: AccountClient, row: Meeting, markers: Collection[str], since: datetime
) -> list[Said]:
    """Meetings that carry one of `markers`, among those Zoom says were created on the host `since` then."""
    async with work.transaction() as tx:
        host = await tx.session.get_one(Host, row.host_id)
        seal = work.resources.seal
        numbers = await inbox.created_since(tx, seal, row.account_id, host.zoom_user_id, since - SKEW)
    found = []
    for number in numbers:
        try:
            meeting = await zoom.get_meeting(number)
        except NotFound:
            continue
        if any(has_marker(meeting.agenda, marker) for marker in markers):
            found.append(meeting)
    return found
