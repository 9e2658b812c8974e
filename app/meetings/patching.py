"""Changes a meeting at Zoom, and reads back what Zoom made of the change."""

import contextlib
from collections.abc import AsyncIterator

from app.accounts import quotas, reservations
from app.clients.zoom import AccountClient, MeetingBody, MissingScopes, ZoomError
from app.clients.zoom import Meeting as ZoomMeeting
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.meetings import creation, service, unanswered_changes
from app.meetings.models import Meeting
from app.meetings.optional_fields import Tries, body_without, optional_fields_of, remember_refused
from app.meetings.plan import MANUAL_APPROVAL, auto_approves, from_zoom, merged_with_zoom
from app.resources import Resources


async def patch_and_read_back(
    job: JobContext[Resources],
    zoom: AccountClient,
    context: service.MeetingContext,
    meeting: Meeting,
    body: MeetingBody,
) -> ZoomMeeting | None:
    """PATCH the meeting and return it as Zoom has it then; None if the grant does not allow to read it.

    Zoom silently drops what it does not support, so only reading back shows the result.
    """
    assert meeting.zoom_meeting_id is not None  # noqa: S101 - the caller checked it
    await _patch(job, zoom, context, meeting, body)
    zoom_meeting = await read_back(zoom, meeting.zoom_meeting_id)
    # Automatic approval lets in everybody who fills in Zoom's form, so it is turned off at once.
    if zoom_meeting is not None and auto_approves(context.plan(meeting.marker), from_zoom(zoom_meeting)):
        await _patch(job, zoom, context, meeting, {"settings": {"approval_type": MANUAL_APPROVAL}})
        zoom_meeting = await read_back(zoom, meeting.zoom_meeting_id)
    return zoom_meeting


async def read_back(zoom: AccountClient, number: int) -> ZoomMeeting | None:
    """Return the meeting as Zoom has it; None if the grant does not allow to read it."""
    try:
        return await zoom.get_meeting(number)
    except MissingScopes:
        return None


async def _patch(
    job: JobContext[Resources],
    zoom: AccountClient,
    context: service.MeetingContext,
    meeting: Meeting,
    body: MeetingBody,
) -> None:
    """PATCH the meeting, without the optional fields that Zoom refuses, and store what was sent."""
    assert context.host is not None  # noqa: S101 - the caller checked `wants_meeting`
    assert meeting.zoom_meeting_id is not None  # noqa: S101 - the caller checked it
    quota_key = reservations.host_key(context.host.zoom_user_id)
    number = meeting.zoom_meeting_id

    async def send(left_out: frozenset[str]) -> unanswered_changes.Change | None:
        rest = body_without(body, left_out)
        if not rest:
            return None
        async with (
            quotas.consuming(job.resources, quota_key, quotas.MEETINGS_PER_HOST, creation.QUOTA_EXHAUSTED),
            _attempt_marker(job, context, meeting, rest, left_out) as change,
        ):
            await zoom.update_meeting(number, rest)
        return change

    change, left_out = await creation.retry_without_refused(Tries(optional_fields_of(body)), send)
    async with job.transaction() as tx:
        row = await service.lock(tx, meeting.id)
        row.left_out = remember_refused(context.plan(meeting.marker), row.left_out, left_out)
        row.last_sent = context.desired_plan(row)
        row.observed = None
        row.synced_at = tx.now
        row.unanswered = unanswered_changes.without_change(row.unanswered, change)


@contextlib.asynccontextmanager
async def _attempt_marker(
    job: JobContext[Resources],
    context: service.MeetingContext,
    meeting: Meeting,
    body: MeetingBody,
    left_out: frozenset[str],
) -> AsyncIterator[unanswered_changes.Change]:
    """Commit an attempt marker around one call.

    Before the call, the fields it changes become unknown; they stay unknown until Zoom's response is stored. If Zoom
    refuses the change, or the request was never sent, everything is known as before.
    """
    async with job.transaction() as tx:
        row = await service.lock(tx, meeting.id)
        last_sent = row.last_sent
        observed = row.observed
        left_out_before = row.left_out
        change = unanswered_changes.new_change(body, tx.now)
        row.state = "updating"
        row.unanswered = unanswered_changes.with_change(row.unanswered, change)
        row.last_sent = unanswered_changes.without_unknown(last_sent, [change])
        row.observed = unanswered_changes.without_unknown(observed, [change])
        row.left_out = remember_refused(context.plan(meeting.marker), left_out_before, left_out)
    try:
        yield change
    except unanswered_changes.UNKNOWN_OUTCOME:
        raise
    except (ZoomError, RetryLater):
        async with job.transaction() as tx:
            row = await service.lock(tx, meeting.id)
            row.last_sent = last_sent
            row.left_out = left_out_before
            if observed is not None and row.observed is not None:
                row.observed = merged_with_zoom(observed, row.observed)
            row.unanswered = unanswered_changes.without_change(row.unanswered, change)
        raise
