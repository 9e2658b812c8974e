"""Creates a meeting exactly once although the response may be lost; deletes meetings and orphans at Zoom.

An attempt is committed before the call. If a later run finds an open attempt, the outcome is unknown. Then Zoom's
`meeting.created` notification leads to the meeting, or the list of the host's meetings does; it is ours if our marker
is at the head of its agenda. After ten minutes the meeting is created once more. What the first attempt may have
created is then an orphan, which is deleted whenever it appears.
"""

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from app import commands, facts
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
# How often a run looks for a creation without an answer in Zoom's list.
LIST_INTERVAL = timedelta(minutes=1)
# Zoom's clock and ours may differ by this much.
CLOCK_SKEW = timedelta(minutes=1)
QUOTA_EXHAUSTED = "Zoom takes 100 new or changed meetings of one host a day, and today's are used up."
log = logs.get("meetings")
T = TypeVar("T")


class PendingCreation(NamedTuple):
    """A meeting that is about to be created at Zoom.

    `row` is our row, `zoom_user_id` the host, `plan` the plan with the row's marker, `event_version` the version of the
    event that the plan describes. `can_list` tells whether the grant allows to list the host's meetings.
    """

    row: Meeting
    zoom_user_id: str
    plan: Plan
    event_version: int
    can_list: bool


async def create_meeting(job: JobContext[Resources], context: service.MeetingContext) -> None:
    """Create the meeting of the event, unless an earlier attempt may have created it already."""
    assert context.host is not None  # noqa: S101 - the caller checked `wants_meeting`
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
    # Every attempt has a marker of its own, so that an orphan can be told from the meeting we keep.
    row.marker = marker
    pending = PendingCreation(
        row=row,
        zoom_user_id=context.host.zoom_user_id,
        plan=context.plan(marker),
        event_version=context.event.version,
        can_list=_can_list(context.account),
    )
    zoom_meeting = await _attempt(job, zoom, pending)
    if zoom_meeting is not None:
        await _adopt(job, row, zoom_meeting)


async def _attempt(job: JobContext[Resources], zoom: AccountClient, pending: PendingCreation) -> ZoomMeeting | None:
    """Call Zoom and return the new meeting; None if nobody knows whether Zoom created it."""
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
    """Repeat `call` without the optional fields that Zoom refuses.

    Returns the result of the first call that succeeds, and the fields it left out. Raises a refusal that is not about
    an optional field.
    """
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
    """Commit that an attempt without the fields `left_out` is under way; with None, that none is."""
    async with job.transaction() as tx:
        row = await service.lock(tx, pending.row.id)
        row.state = "pending"
        row.synced_version = pending.event_version
        row.marker = pending.row.marker
        if left_out is None:
            row.last_sent = None
            row.attempted_at = None
            row.left_out = {}
        else:
            row.left_out = remember_refused(pending.plan, pending.row.left_out, left_out)
            row.last_sent = without_refused(pending.plan, row.left_out)
            row.attempted_at = tx.now


async def _wait_for_outcome(job: JobContext[Resources], pending: PendingCreation, error: OutcomeUnknown) -> None:
    """Have the job run again when the outcome may be known.

    If the grant allows to list the host's meetings, that is at once; else after `OUTCOME_TIMEOUT`, unless Zoom's
    notification comes first.
    """
    log.warning("creation without an answer", event_id=job.key)
    async with job.transaction() as tx:
        attempted_at = (await service.lock(tx, pending.row.id)).attempted_at or tx.now
    error.retry_at = attempted_at + service.OUTCOME_TIMEOUT
    async with job.complete(job.resources.clock.now() if pending.can_list else error.retry_at) as tx:
        await service.show_error(tx, job.id, error)
        (await service.lock(tx, pending.row.id)).state = "unknown"
        tx.publish(f"event:{job.id}")


async def _may_create_again(
    job: JobContext[Resources], row: Meeting, attempted_at: datetime, *, can_list: bool
) -> bool:
    """Return whether it is time to create the meeting once more; if not, complete the job.

    Until the timeout the job looks again from time to time: a list without the meeting proves nothing. After a second
    lost answer nothing is created any more by itself. The meeting is shown as failed, and an admin decides.
    """
    now = job.resources.clock.now()
    until = attempted_at + service.OUTCOME_TIMEOUT
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
        tx.publish(f"event:{job.id}")
    return False


async def _adopt(
    job: JobContext[Resources], row: Meeting, zoom_meeting: ZoomMeeting, *, recovered: bool = False
) -> None:
    """Store the number and the encrypted link of a meeting that exists, and complete the job.

    A `recovered` meeting was created from an older plan, so another sync is requested.
    """
    async with job.complete() as tx:
        meeting = await service.lock(tx, row.id)
        meeting.zoom_meeting_id = zoom_meeting.id
        meeting.attempted_at = None
        meeting.synced_at = tx.now
        sync_outcome.store_observation(meeting, zoom_meeting, job.resources)
        sync_outcome.mark_scheduled(meeting)
        tx.record(facts.MeetingSynced(job.id, row.account_id))
        if recovered:
            tx.record(commands.SyncMeetingNow(job.id, row.account_id))
        tx.publish(f"event:{job.id}")


async def delete_orphans(job: JobContext[Resources], zoom: AccountClient, row: Meeting) -> None:
    """Delete the meetings at Zoom that attempts without an answer created, as far as they can be found."""
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
    """Delete a meeting at Zoom. It is no error if the meeting is gone already."""
    try:
        await zoom.delete_meeting(number)
    except NotFound:
        log.info("meeting was gone already")


async def _find_earlier(
    job: JobContext[Resources], zoom: AccountClient, row: Meeting, markers: Collection[str], since: datetime
) -> list[ZoomMeeting]:
    """Return the host's meetings at Zoom that carry one of `markers`.

    First the notifications about meetings created `since` then are searched. If they have none, the list of the host's
    meetings is searched, if the grant allows to list them.
    """
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
    """Read these meetings from Zoom and return those that carry one of `markers`."""
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
    """Return numbers of the host's meetings that carry one of `markers` in Zoom's list.

    An error of the list is not raised: Zoom's notification may still lead to the meeting.
    """
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
