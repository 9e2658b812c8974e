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
from app.accounts import grants, quotas, reservations
from app.accounts.models import Account, Host
from app.clients.zoom import AccountClient, NotFound, OutcomeUnknown, Refused, ZoomError, allows
from app.clients.zoom import Meeting as ZoomMeeting
from app.core import logs
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.inbox import service as inbox
from app.meetings import service, sync_outcome
from app.meetings.marker import has_marker, new_marker
from app.meetings.models import Meeting
from app.meetings.optional_fields import Tries, body_without, optional_fields_of, remember_refused, without_refused
from app.meetings.plan import Plan, create_body, new_passcode
from app.resources import Resources

LIST_SCOPE = "meeting:read:list_meetings"
# How often a creation without an answer is looked for in Zoom's list.
LIST_INTERVAL = timedelta(minutes=1)
# Zoom's clock and ours may differ by this much.
CLOCK_SKEW = timedelta(minutes=1)
QUOTA_EXHAUSTED = "Zoom takes 100 new or changed meetings of one host a day, and today's are used up."
log = logs.get("meetings")
T = TypeVar("T")


class PendingCreation(NamedTuple):
    """A meeting to be made: our row, whose it is to be at Zoom, the plan under the row's marker, the version of the
    event it is the plan of, and whether the host's meetings may be listed."""

    row: Meeting
    zoom_user_id: str
    plan: Plan
    event_version: int
    can_list: bool


async def create_meeting(job: JobContext[Resources], context: service.MeetingContext) -> None:
    """Create the meeting the event wants, unless an earlier attempt may have done so already."""
    assert context.host is not None  # noqa: S101 - `pending` was asked first
    marker = new_marker(job.resources.encryption, context.event.id)
    row = context.meeting
    if row is None:
        async with job.transaction() as tx:
            row = await service.create_row(tx, context, marker)
    zoom = await grants.client_for(job.resources, row.account_id)
    if row.attempted_at is not None:
        earlier = await _find_earlier(job, zoom, row, [row.marker], row.attempted_at)
        if earlier:
            await _adopt(job, row, earlier[0], recovered=True)
            return
        if not await _may_create_again(job, row, row.attempted_at, can_list=_can_list(context.account)):
            return
    row.marker = marker
    plan, can_list = context.plan(row.marker), _can_list(context.account)
    pending = PendingCreation(row, context.host.zoom_user_id, plan, context.event.version, can_list)
    zoom_meeting = await _attempt(job, zoom, pending)
    if zoom_meeting is not None:
        await _adopt(job, row, zoom_meeting)


async def _attempt(job: JobContext[Resources], zoom: AccountClient, pending: PendingCreation) -> ZoomMeeting | None:
    """The meeting Zoom made; None where nobody knows whether it did."""
    body = create_body(without_refused(pending.plan, pending.row.left_out), new_passcode())
    quota_key = reservations.host_key(pending.zoom_user_id)

    async def send(left_out: frozenset[str]) -> ZoomMeeting:
        async with quotas.consuming(job.resources, quota_key, quotas.MEETINGS_PER_HOST, QUOTA_EXHAUSTED):
            await _mark_attempt(job, pending, left_out)
            return await zoom.create_meeting(pending.zoom_user_id, body_without(body, left_out))

    try:
        zoom_meeting, _ = await retry_without_refused(Tries(optional_fields_of(body)), send)
    except OutcomeUnknown as error:
        await _wait_for_outcome(job, pending, error)
        return None
    except (ZoomError, RetryLater):
        await _mark_attempt(job, pending, None)
        raise
    return zoom_meeting


async def retry_without_refused(
    tries: Tries, call: Callable[[frozenset[str]], Awaitable[T]]
) -> tuple[T, frozenset[str]]:
    """What `call` brings for the first set of left-out fields that Zoom does not refuse, and that set; a refusal that
    is not about an optional field is raised."""
    while True:
        try:
            return await call(tries.left_out), tries.left_out
        except Refused as refusal:
            next_tries = tries.next(refusal)
            if next_tries is None:
                raise
            log.info("tried again without optional fields", fields=sorted(next_tries.left_out), reason=str(refusal))
            tries = next_tries


async def _mark_attempt(job: JobContext[Resources], pending: PendingCreation, left_out: frozenset[str] | None) -> None:
    """An attempt without the fields `left_out` is under way; with None, none is."""
    async with job.transaction() as tx:
        row = await service.lock(tx, pending.row.id)
        row.state, row.synced_version, row.marker = "pending", pending.event_version, pending.row.marker
        if left_out is None:
            row.last_sent, row.attempted_at, row.left_out = None, None, {}
        else:
            row.left_out = remember_refused(pending.plan, pending.row.left_out, left_out)
            row.last_sent, row.attempted_at = without_refused(pending.plan, row.left_out), tx.now


async def _wait_for_outcome(job: JobContext[Resources], pending: PendingCreation, error: OutcomeUnknown) -> None:
    """Wait for Zoom to speak of the meeting. Where the host's meetings may be listed, look through them at once."""
    log.warning("creation without an answer", event_id=job.key)
    async with job.transaction() as tx:
        attempted_at = (await service.lock(tx, pending.row.id)).attempted_at or tx.now
    error.retry_at = attempted_at + service.OUTCOME_TIMEOUT
    async with job.complete(job.resources.clock.now() if pending.can_list else error.retry_at) as tx:
        await service.show_error(tx, job.id, error)
        (await service.lock(tx, pending.row.id)).state = "unknown"
        tx.ring(f"event:{job.id}")


async def _may_create_again(
    job: JobContext[Resources], row: Meeting, attempted_at: datetime, *, can_list: bool
) -> bool:
    """Whether it is time to create once more; until then, and after a second loss, the row waits. That a list does not
    have the meeting proves nothing: it is looked for again."""
    now, until = job.resources.clock.now(), attempted_at + service.OUTCOME_TIMEOUT
    expired = now >= until
    if expired and not row.orphan_markers:
        async with job.transaction() as tx:
            locked = await service.lock(tx, row.id)
            service.abandon_creation(locked)
        row.orphan_markers = locked.orphan_markers
        return True
    retry_at = None if expired else min(until, now + LIST_INTERVAL) if can_list else until
    async with job.complete(retry_at) as tx:
        waiting = await service.lock(tx, row.id)
        waiting.state = "failed" if expired else "unknown"
        if expired and waiting.last_error:
            waiting.last_error = {**waiting.last_error, "retry_at": None}
        tx.ring(f"event:{job.id}")
    return False


async def _adopt(
    job: JobContext[Resources], row: Meeting, zoom_meeting: ZoomMeeting, *, recovered: bool = False
) -> None:
    """The meeting exists: keep its number and its link, sealed, and tell those who wait for it.

    One that was `found` is what was wanted when it was asked for, so it is compared with what is wanted by now.
    """
    async with job.complete() as tx:
        meeting = await service.lock(tx, row.id)
        meeting.zoom_meeting_id, meeting.attempted_at = zoom_meeting.id, None
        meeting.synced_at = tx.now
        sync_outcome.store_observation(meeting, zoom_meeting, job.resources)
        sync_outcome.mark_scheduled(meeting)
        tx.record(facts.MeetingSynced(job.id, row.account_id))
        if recovered:
            tx.record(facts.SyncAsked(job.id, row.account_id))
        tx.ring(f"event:{job.id}")


async def delete_orphans(job: JobContext[Resources], zoom: AccountClient, row: Meeting) -> None:
    """Delete at Zoom what attempts without answer made after all, as far as Zoom has spoken of it."""
    if not row.orphan_markers:
        return
    since = max(row.created_at, job.resources.clock.now() - service.ORPHAN_SEARCH_WINDOW)
    orphans = await _find_earlier(job, zoom, row, row.orphan_markers, since)
    for orphan in orphans:
        if orphan.id != row.zoom_meeting_id:
            await delete_meeting(zoom, orphan.id)
    deleted_markers = {
        marker for marker in row.orphan_markers for orphan in orphans if has_marker(orphan.agenda, marker)
    }
    if deleted_markers:
        async with job.transaction() as tx:
            cleared = await service.lock(tx, row.id)
            cleared.orphan_markers = [marker for marker in row.orphan_markers if marker not in deleted_markers]


async def delete_meeting(zoom: AccountClient, number: int) -> None:
    """Delete a meeting at Zoom. Gone already is as good."""
    try:
        await zoom.delete_meeting(number)
    except NotFound:
        log.info("meeting was gone already")


async def _find_earlier(
    job: JobContext[Resources], zoom: AccountClient, row: Meeting, markers: Collection[str], since: datetime
) -> list[ZoomMeeting]:
    """Meetings that carry one of `markers`, among those Zoom says were created on the host `since` then, or else among
    those a list of the host's has under them, where the grant permits to list."""
    async with job.read_only() as tx:
        host = await tx.session.get_one(Host, row.host_id)
        account = await tx.session.get_one(Account, row.account_id)
        numbers = await inbox.created_meeting_ids(
            tx, job.resources.encryption, row.account_id, host.zoom_user_id, since - CLOCK_SKEW
        )
    found = await _with_marker(zoom, numbers, markers)
    if found or not _can_list(account):
        return found
    return await _with_marker(zoom, await _listed_numbers(zoom, host.zoom_user_id, markers), markers)


async def _with_marker(zoom: AccountClient, numbers: Collection[int], markers: Collection[str]) -> list[ZoomMeeting]:
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


async def _listed_numbers(zoom: AccountClient, zoom_user_id: str, markers: Collection[str]) -> list[int]:
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


def _can_list(account: Account | None) -> bool:
    return account is not None and allows(account.scopes, LIST_SCOPE)
