"""Changing a meeting at Zoom, and reading back what became of it."""

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
    """The meeting read back after a PATCH: Zoom drops what it does not support without a word."""
    assert meeting.zoom_meeting_id is not None  # noqa: S101 - asked by the caller
    await _patch(job, zoom, context, meeting, body)
    zoom_meeting = await read_back(zoom, meeting.zoom_meeting_id)
    if zoom_meeting is not None and auto_approves(context.plan(meeting.marker), from_zoom(zoom_meeting)):
        await _patch(job, zoom, context, meeting, {"settings": {"approval_type": MANUAL_APPROVAL}})
        zoom_meeting = await read_back(zoom, meeting.zoom_meeting_id)
    return zoom_meeting


async def read_back(zoom: AccountClient, number: int) -> ZoomMeeting | None:
    """What Zoom says of a meeting; None where the grant does not permit to ask."""
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
    assert context.host is not None  # noqa: S101 - `wanted` was asked first
    assert meeting.zoom_meeting_id is not None  # noqa: S101 - asked by the caller
    quota_key, number = reservations.host_key(context.host.zoom_user_id), meeting.zoom_meeting_id

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
        row.last_sent, row.observed, row.synced_at = context.desired_plan(row), None, tx.now
        row.unanswered = unanswered_changes.without_change(row.unanswered, change)


@contextlib.asynccontextmanager
async def _attempt_marker(
    job: JobContext[Resources],
    context: service.MeetingContext,
    meeting: Meeting,
    body: MeetingBody,
    left_out: frozenset[str],
) -> AsyncIterator[unanswered_changes.Change]:
    """Around one call: what it changes is unknown from before it is sent until Zoom's answer is written down. Where
    Zoom says that it was not made, or it was never sent, everything is known as before."""
    async with job.transaction() as tx:
        row = await service.lock(tx, meeting.id)
        last_sent, observed, left_out_before = row.last_sent, row.observed, row.left_out
        change = unanswered_changes.new_change(body, tx.now)
        row.state, row.unanswered = "updating", unanswered_changes.with_change(row.unanswered, change)
        row.last_sent, row.observed = (
            unanswered_changes.without_unknown(last_sent, [change]),
            unanswered_changes.without_unknown(observed, [change]),
        )
        row.left_out = remember_refused(context.plan(meeting.marker), left_out_before, left_out)
    try:
        yield change
    except unanswered_changes.UNKNOWN_OUTCOME:
        raise
    except (ZoomError, RetryLater):
        async with job.transaction() as tx:
            row = await service.lock(tx, meeting.id)
            row.last_sent, row.left_out = last_sent, left_out_before
            if observed is not None and row.observed is not None:
                row.observed = merged_with_zoom(observed, row.observed)
            row.unanswered = unanswered_changes.without_change(row.unanswered, change)
        raise
