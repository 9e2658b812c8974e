"""Creating a meeting exactly once, although the answer may be lost.

An attempt is committed before the call. An open attempt found later means that the outcome is unknown: Zoom's own
`meeting.created` leads to the meeting, or a list of the host's does, and it is ours if our marker heads its agenda. Ten
minutes on, it is created
once more, and what the first attempt may have made is an orphan, deleted whenever it appears.
"""

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from app import facts
from app.accounts import budgets, grants, reservations
from app.accounts.models import Account, Host
from app.clients.zoom import AccountClient, NotFound, OutcomeUnknown, Refused, ZoomError, allows
from app.clients.zoom import Meeting as Said
from app.core import logs
from app.core.outbox import NotNow
from app.core.work import Work
from app.inbox import service as inbox
from app.meetings import observed, service
from app.meetings.marker import has_marker, new_marker
from app.meetings.models import Meeting
from app.meetings.optional import Tries, body_without, noted, optional_in, trimmed
from app.meetings.plan import Plan, creation, new_passcode
from app.resources import Resources

LIST = "meeting:read:list_meetings"
# How often a creation without an answer is looked for in Zoom's list.
LISTED_EVERY = timedelta(minutes=1)
# Zoom's clock and ours may differ by this much.
SKEW = timedelta(minutes=1)
USED_UP = "Zoom takes 100 new or changed meetings of one host a day, and today's are used up."
log = logs.get("meetings")
T = TypeVar("T")


class Creation(NamedTuple):
    """A meeting to be made: our row, whose it is to be at Zoom, the plan under the row's marker, the version of the
    event it is the plan of, and whether the host's meetings may be listed."""

    row: Meeting
    zoom_user_id: str
    plan: Plan
    version: int
    listed: bool


async def create(work: Work[Resources], situation: service.Situation) -> None:
    """Create the meeting the event wants, unless an earlier attempt may have done so already."""
    assert situation.host is not None  # noqa: S101 - `wanted` was asked first
    marker = new_marker(work.resources.seal, situation.event.id)
    row = situation.meeting
    if row is None:
        async with work.transaction() as tx:
            row = await service.begin(tx, situation, marker)
    zoom = await grants.zoom(work.resources, row.account_id)
    if row.attempted_at is not None:
        found = await _made_earlier(work, zoom, row, [row.marker], row.attempted_at)
        if found:
            await _adopt(work, row, found[0], found=True)
            return
        if not await _given_up(work, row, row.attempted_at, listed=_may_list(situation.account)):
            return
    row.marker = marker
    plan, listed = situation.plan(row.marker), _may_list(situation.account)
    wanted = Creation(row, situation.host.zoom_user_id, plan, situation.event.version, listed)
    made = await _attempt(work, zoom, wanted)
    if made is not None:
        await _adopt(work, row, made)


async def _attempt(work: Work[Resources], zoom: AccountClient, wanted: Creation) -> Said | None:
    """The meeting Zoom made; None where nobody knows whether it did."""
    body = creation(trimmed(wanted.plan, wanted.row.left_out), new_passcode())
    subject = reservations.of_host(wanted.zoom_user_id)

    async def made(left_out: frozenset[str]) -> Said:
        async with budgets.counted(work.resources, subject, budgets.MEETINGS_PER_HOST, USED_UP):
            await _note_attempt(work, wanted, left_out)
            return await zoom.create_meeting(wanted.zoom_user_id, body_without(body, left_out))

    try:
        said, _ = await until_taken(Tries(optional_in(body)), made)
    except OutcomeUnknown as error:
        await _unknown(work, wanted, error)
        return None
    except (ZoomError, NotNow):
        await _note_attempt(work, wanted, None)
        raise
    return said


async def until_taken(tries: Tries, call: Callable[[frozenset[str]], Awaitable[T]]) -> tuple[T, frozenset[str]]:
    """What `call` brings for the first set of left-out fields that Zoom does not refuse, and that set; a refusal that
    is not about an optional field is raised."""
    while True:
        try:
            return await call(tries.left_out), tries.left_out
        except Refused as refusal:
            following = tries.after(refusal)
            if following is None:
                raise
            log.info("tried again without optional fields", fields=sorted(following.left_out), reason=str(refusal))
            tries = following


async def _note_attempt(work: Work[Resources], wanted: Creation, left_out: frozenset[str] | None) -> None:
    """An attempt without the fields `left_out` is under way; with None, none is."""
    async with work.transaction() as tx:
        row = await service.lock(tx, wanted.row.id)
        row.state, row.carried_version, row.marker = "pending", wanted.version, wanted.row.marker
        if left_out is None:
            row.pushed, row.attempted_at, row.left_out = None, None, {}
        else:
            row.left_out = noted(wanted.plan, wanted.row.left_out, left_out)
            row.pushed, row.attempted_at = trimmed(wanted.plan, row.left_out), tx.now


async def _unknown(work: Work[Resources], wanted: Creation, error: OutcomeUnknown) -> None:
    """Wait for Zoom to speak of the meeting. Where the host's meetings may be listed, look through them at once."""
    log.warning("creation without an answer", event_id=work.key)
    async with work.transaction() as tx:
        attempted_at = (await service.lock(tx, wanted.row.id)).attempted_at or tx.now
    error.retry_at = attempted_at + service.UNKNOWN_FOR
    async with work.done(work.resources.clock.now() if wanted.listed else error.retry_at) as tx:
        await service.show_error(tx, work.id, error)
        (await service.lock(tx, wanted.row.id)).state = "unknown"
        tx.ring(f"event:{work.id}")


async def _given_up(work: Work[Resources], row: Meeting, attempted_at: datetime, *, listed: bool) -> bool:
    """Whether it is time to create once more; until then, and after a second loss, the row waits. That a list does not
    have the meeting proves nothing: it is looked for again."""
    now, until = work.resources.clock.now(), attempted_at + service.UNKNOWN_FOR
    expired = now >= until
    if expired and not row.orphan_markers:
        async with work.transaction() as tx:
            locked = await service.lock(tx, row.id)
            service.give_up(locked)
        row.orphan_markers = locked.orphan_markers
        return True
    again_at = None if expired else min(until, now + LISTED_EVERY) if listed else until
    async with work.done(again_at) as tx:
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
    async with work.done() as tx:
        meeting = await service.lock(tx, row.id)
        meeting.zoom_meeting_id, meeting.attempted_at = made.id, None
        meeting.synced_at = tx.now
        observed.observe(meeting, made, work.resources)
        observed.settle(meeting)
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
    """Meetings that carry one of `markers`, among those Zoom says were created on the host `since` then, or else among
    those a list of the host's has under them, where the grant permits to list."""
    async with work.reading() as tx:
        host = await tx.session.get_one(Host, row.host_id)
        account = await tx.session.get_one(Account, row.account_id)
        numbers = await inbox.created_since(tx, work.resources.seal, row.account_id, host.zoom_user_id, since - SKEW)
    found = await _marked(zoom, numbers, markers)
    if found or not _may_list(account):
        return found
    return await _marked(zoom, await _listed(zoom, host.zoom_user_id, markers), markers)


async def _marked(zoom: AccountClient, numbers: Collection[int], markers: Collection[str]) -> list[Said]:
    """Those of these meetings that carry one of `markers`, as they are now."""
    found = []
    for number in numbers:
        try:
            meeting = await zoom.get_meeting(number)
        except NotFound:
            continue
        if any(has_marker(meeting.agenda, marker) for marker in markers):
            found.append(meeting)
    return found


async def _listed(zoom: AccountClient, zoom_user_id: str, markers: Collection[str]) -> list[int]:
    """Numbers of the host's meetings that stand in Zoom's list under one of `markers`. A list that cannot be
    had leaves the other way, Zoom's own notification."""
    try:
        return [
            meeting.id
            async for meeting in zoom.list_meetings(zoom_user_id)
            if any(has_marker(meeting.agenda, marker) for marker in markers)
        ]
    except ZoomError as error:
        log.info("the host's meetings cannot be listed", reason=str(error))
        return []


def _may_list(account: Account | None) -> bool:
    return account is not None and allows(account.scopes, LIST)
