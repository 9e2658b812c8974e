"""Jobs about meetings: sync with Zoom, deletion, notifications, recordings, and periodic checks."""

from collections.abc import Sequence
from datetime import datetime

from app import commands, facts
from app.accounts import grants
from app.clients.zoom import Meeting as ZoomMeeting
from app.clients.zoom import MeetingBody, NotFound, ZoomError
from app.core import logs
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.inbox import service as inbox
from app.meetings import (
    creation,
    drift,
    instance_store,
    patching,
    recording_status,
    service,
    sync_outcome,
    unanswered_changes,
)
from app.meetings.instance_rules import times_from_notification
from app.meetings.models import Meeting
from app.meetings.plan import Plan, differences, from_zoom, merged_with_zoom, patch_body
from app.resources import Resources

# Zoom's error code for a meeting that does not exist:
# developers.zoom.us/docs/api/meetings/#tag/meetings/GET/meetings/{meetingId}
NO_SUCH_MEETING = 3001
log = logs.get("meetings")


async def sync(job: JobContext[Resources]) -> None:
    """Make the Zoom meeting of one event (the key) what the event needs: create, change or retire it."""
    async with job.read_only() as tx:
        context = await service.load_context(tx, job.id)
    if context is None:
        return
    if context.on_another_host and context.meeting:
        async with job.transaction() as tx:
            service.retire(tx, await service.lock(tx, context.meeting.id))
            tx.record(facts.MeetingSynced(job.id, None))
        context.meeting = None
    try:
        await _converge(job, context)
    except (ZoomError, RetryLater) as error:
        if not _is_read_only(context):
            async with job.transaction() as tx:
                await service.show_error(tx, job.id, error)
                tx.publish(f"event:{job.id}")
        raise


async def _converge(job: JobContext[Resources], context: service.MeetingContext) -> None:
    """Do the one step that brings the meeting closer to what the event needs, and complete the job."""
    meeting = context.meeting
    if not context.wants_meeting or context.account is None:
        await _complete(job)
    elif context.account.status == "disconnected":
        await _mark_gone(job, meeting, "unavailable")
    elif meeting is None or meeting.zoom_meeting_id is None:
        is_over = context.event.status(job.resources.clock.now()) == "ended"
        await (_complete(job) if is_over else creation.create_meeting(job, context))
    elif meeting.state == "deleted_at_zoom" and meeting.stale_since is None:
        await _complete(job)
    else:
        await _update(job, context, meeting, meeting.zoom_meeting_id)


def _is_read_only(context: service.MeetingContext) -> bool:
    """Return whether the sync only checks a meeting that should be right already.

    An error of such a check is not shown: as far as we know, the meeting is what the event needs.
    """
    meeting = context.meeting
    if meeting is None or not meeting.stale_since or not meeting.observed or not context.wants_meeting:
        return False
    return _patch_body(context, meeting) is None


def _patch_body(
    context: service.MeetingContext,
    meeting: Meeting,
    reported: Plan | None = None,
    overdue: Sequence[unanswered_changes.Change] = (),
    *,
    undo: bool = False,
) -> MeetingBody | None:
    """Return the body that makes the meeting what the event needs; None if nothing differs.

    `reported` is what Zoom just reported; without it the stored observation counts. Fields of `overdue` changes that
    Zoom did not report are sent again. Edits made inside Zoom are undone after a save of the event, and with `undo`.
    """
    reported_or_known = (meeting.observed or {}) if reported is None else reported
    last_sent = unanswered_changes.without_unknown(meeting.last_sent or {}, overdue, reported) or {}
    saved_since = meeting.synced_version not in {None, context.event.version}
    current = (
        merged_with_zoom(last_sent, reported_or_known)
        if undo or saved_since
        else unanswered_changes.known_plan(last_sent, reported_or_known, meeting.unanswered)
    )
    return patch_body(current, reported_or_known, context.desired_plan(meeting))


async def _complete(job: JobContext[Resources]) -> None:
    """Complete the job and publish the event, so that waiting requests look again."""
    async with job.complete() as tx:
        tx.publish(f"event:{job.id}")


async def _mark_gone(job: JobContext[Resources], meeting: Meeting | None, state: str) -> None:
    """Complete the job and store that nobody can enter the meeting any more.

    `state` is `unavailable` or `deleted_at_zoom`.
    """
    async with job.complete() as tx:
        if meeting:
            await drift.mark_gone(tx, meeting, state)
        tx.publish(f"event:{job.id}")


async def _update(job: JobContext[Resources], context: service.MeetingContext, meeting: Meeting, number: int) -> None:
    """PATCH what differs from the plan Zoom last accepted, and read the result back.

    The meeting is read first if our copy may be wrong: after a disconnect, if an admin requested a sync, if the meeting
    is marked stale, or if a change got no answer. Edits made inside Zoom are undone if an admin requested the sync, and
    after a save.
    """
    # There is no observation after an admin requested a sync, and while nothing was read back since our last change.
    undo = meeting.observed is None or meeting.state == "unavailable"
    asked_at = job.resources.clock.now()
    overdue = unanswered_changes.overdue(meeting.unanswered, asked_at)
    must_read = (
        undo or bool(overdue) or unanswered_changes.has_unknown(meeting.last_sent or {}, context.desired_plan(meeting))
    )
    body = _patch_body(context, meeting, undo=undo)
    if body is None and not must_read and not meeting.stale_since and not meeting.orphan_markers:
        await _mark_synced(job, context, meeting, None)
        return
    zoom = await grants.client_for(job.resources, meeting.account_id)
    await creation.delete_orphans(job, zoom, meeting)
    try:
        zoom_meeting = await patching.read_back(zoom, number) if must_read or meeting.stale_since else None
        if zoom_meeting is not None:
            await _apply_read(job, meeting, zoom_meeting, asked_at)
        body = _patch_body(context, meeting, from_zoom(zoom_meeting) if zoom_meeting else None, overdue, undo=undo)
        if body is not None:
            zoom_meeting = await patching.patch_and_read_back(job, zoom, context, meeting, body)
    except NotFound as error:
        await _handle_missing(job, context, meeting, error)
    else:
        await _mark_synced(job, context, meeting, zoom_meeting, overdue)


async def _apply_read(
    job: JobContext[Resources], meeting: Meeting, zoom_meeting: ZoomMeeting, asked_at: datetime
) -> None:
    """Store what was read before the change is sent: its instances count even if the change fails.

    The meeting is no longer stale, unless it was marked stale again since this run began.
    """
    async with job.transaction() as tx:
        await drift.reconcile_instances(tx, meeting, zoom_meeting, asked_at)
        row = await service.lock(tx, meeting.id)
        if row.stale_since == meeting.stale_since:
            row.stale_since = None
            row.synced_at = tx.now


async def _handle_missing(
    job: JobContext[Resources], context: service.MeetingContext, meeting: Meeting, error: NotFound
) -> None:
    """Mark a meeting as deleted if Zoom says that it does not exist; raise any other error.

    The number of a meeting that is over expires at Zoom by itself, so that says nothing.
    """
    if error.code != NO_SUCH_MEETING:
        raise error
    if context.event.status(job.resources.clock.now()) == "ended":
        async with job.complete() as tx:
            (await service.lock(tx, meeting.id)).stale_since = None
    else:
        await _mark_gone(job, meeting, "deleted_at_zoom")


async def _mark_synced(
    job: JobContext[Resources],
    context: service.MeetingContext,
    meeting: Meeting,
    zoom_meeting: ZoomMeeting | None,
    overdue: Sequence[unanswered_changes.Change] = (),
) -> None:
    """Store the result of a sync and complete the job.

    `zoom_meeting` is the meeting that was read back, None if it was not read. `overdue` changes are settled now. If
    other changes have no answer yet, the job runs again when the next one is overdue. Registrants are synced again if
    the meeting can take them now, or its link or protection changed.
    """
    pending = [each for each in meeting.unanswered if each not in overdue]
    async with job.complete(unanswered_changes.next_deadline(pending)) as tx:
        row = await service.lock(tx, meeting.id)
        desired = context.desired_plan(row)
        row.synced_version = context.event.version
        row.unanswered = pending
        if row.stale_since == meeting.stale_since:
            row.stale_since = None
        state_before = (row.state in service.ACTIVE_STATES, row.protected, row.join_url is not None)
        settled = zoom_meeting is not None or row.state in {meeting.state, "updating"}
        if zoom_meeting is None and row.observed is None:
            sync_outcome.assume_applied(row, desired)
        if zoom_meeting is not None or unanswered_changes.has_unknown(row.last_sent or {}, desired):
            row.last_sent = desired
        if zoom_meeting is not None:
            row.synced_at = tx.now
            sync_outcome.store_observation(row, zoom_meeting, job.resources)
            for difference in differences(desired, row.observed or {}):
                log.info("zoom keeps another value", event_id=job.key, field=difference["field"])
        if settled:
            sync_outcome.mark_scheduled(row)
        if state_before != (True, row.protected, row.join_url is not None):
            tx.record(facts.MeetingSynced(job.id, row.account_id))
        tx.publish(f"event:{job.id}")


async def delete_retired(job: JobContext[Resources]) -> None:
    """Delete a meeting (the key) that no longer serves its event, and its orphans."""
    async with job.read_only() as tx:
        meeting = await tx.session.get(Meeting, job.id)
        if meeting is None:
            return
    if meeting.zoom_meeting_id is not None or meeting.orphan_markers:
        zoom = await grants.client_for(job.resources, meeting.account_id)
        try:
            if meeting.zoom_meeting_id is not None:
                await creation.delete_meeting(zoom, meeting.zoom_meeting_id)
            await creation.delete_orphans(job, zoom, meeting)
        except ZoomError as error:
            if error.retry != "never":
                raise
            # Zoom refuses to delete a running meeting, so the job tries again later.
            raise RetryLater(str(error)) from error
    async with job.complete() as tx:
        row = await service.lock(tx, meeting.id)
        row.state = "retired"
        row.join_url = None
        row.last_error = None
        tx.publish(f"event:{row.event_id}")


async def handle_meeting_created(job: JobContext[Resources]) -> None:
    """Handle a notification that Zoom created a meeting (the key is a delivery).

    Meetings of that host whose creation got no answer, or left a possible orphan, are looked at again.
    """
    async with job.read_only() as tx:
        notification = await inbox.read_notification(tx, job.resources.encryption, job.id)
        account_ids = await inbox.resolve_account_ids(tx, job.id, notification)
        affected = await service.with_unknown_outcome(tx, account_ids, notification.host_id or "")
    async with job.complete() as tx:
        for meeting in affected:
            if meeting.state in service.RETIRED_STATES:
                tx.record(facts.MeetingRetired(meeting.id, meeting.account_id))
            else:
                tx.record(commands.SyncMeetingNow(meeting.event_id, meeting.account_id))


async def handle_instance(job: JobContext[Resources]) -> None:
    """Handle a notification that an instance started or ended (the key is a delivery)."""
    async with job.complete() as tx:
        delivery = await inbox.get_delivery(tx, job.id)
        notification = await inbox.read_notification(tx, job.resources.encryption, job.id)
        account_ids = await inbox.resolve_account_ids(tx, job.id, notification)
        meeting = await drift.meeting_for(tx, account_ids, notification)
        if meeting is None or not notification.uuid:
            return
        times = times_from_notification(notification, delivery.received_at)
        await instance_store.store(tx, meeting, notification.uuid, times)
        if times.ended_at and meeting.state in service.RETIRED_STATES:
            # A meeting cancelled while it ran may have outlived its deletion: delete it once more.
            tx.record(commands.DeleteMeeting(meeting.id, meeting.account_id))
            tx.run_now(str(meeting.id))
        tx.publish(f"event:{meeting.event_id}")


async def handle_change(job: JobContext[Resources]) -> None:
    """Handle a notification that a meeting was edited, deleted or restored (the key is a delivery)."""
    async with job.complete() as tx:
        delivery = await inbox.get_delivery(tx, job.id)
        notification = await inbox.read_notification(tx, job.resources.encryption, job.id)
        account_ids = await inbox.resolve_account_ids(tx, job.id, notification)
        meeting = await drift.meeting_for(tx, account_ids, notification)
        if meeting is not None and meeting.state not in service.RETIRED_STATES:
            await drift.handle_changed(tx, meeting, notification, notification.occurred_at or delivery.received_at)
            tx.publish(f"event:{meeting.event_id}")


async def find_stale(job: JobContext[Resources]) -> None:
    """Find meetings about which Zoom should have sent something by now; a periodic job."""
    async with job.complete() as tx:
        await drift.find_stale(tx)
        await drift.close_abandoned(tx)


async def handle_recording(job: JobContext[Resources]) -> None:
    """Handle a notification about recordings (the key is a delivery)."""
    async with job.complete() as tx:
        delivery = await inbox.get_delivery(tx, job.id)
        notification = await inbox.read_notification(tx, job.resources.encryption, job.id)
        account_ids = await inbox.resolve_account_ids(tx, job.id, notification)
        await recording_status.handle_notification(
            tx, account_ids, notification, notification.occurred_at or delivery.received_at
        )


async def fetch_recording(job: JobContext[Resources]) -> None:
    """Ask Zoom for the recording of an instance (the key)."""
    await recording_status.fetch(job)


async def find_unreported_recordings(job: JobContext[Resources]) -> None:
    """Find instances whose recording Zoom should have reported by now; a periodic job."""
    async with job.complete() as tx:
        await recording_status.find_unreported(tx)


async def resync_account(job: JobContext[Resources]) -> None:
    """Sync every upcoming event of an account (the key) after it was connected or its hosts changed.

    Fields that Zoom refused before are tried again.
    """
    async with job.complete() as tx:
        await service.clear_left_out(tx, job.id)
        for event_id in await service.upcoming_of_account(tx, job.id):
            tx.record(commands.SyncMeetingNow(event_id, job.id))
        for meeting in await service.retiring_of_account(tx, job.id):
            tx.record(commands.DeleteMeeting(meeting.id, meeting.account_id))
