"""Making wanted and observed equal: the jobs that call Zoom about meetings."""

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

NO_SUCH_MEETING = 3001  # developers.zoom.us/docs/api/meetings/#tag/meetings/GET/meetings/{meetingId}
log = logs.get("meetings")


async def sync(job: JobContext[Resources]) -> None:
    """Make the Zoom meeting of one event (the key) what the event wants: create it, change it, or let it go."""
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
    """Whether Zoom has what is wanted as far as is known, and is only asked whether it still has."""
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
    """What is to be changed at Zoom, which just `said` what it has, or else as far as is known; None if nothing is.

    What `overdue` changes name and Zoom did not say is sent again. What people changed inside Zoom is undone after a save,
    and where it is asked to `undo` it.
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
    async with job.complete() as tx:
        tx.publish(f"event:{job.id}")


async def _mark_gone(job: JobContext[Resources], meeting: Meeting | None, state: str) -> None:
    """The meeting cannot be entered any more: it is `unavailable` or `deleted_at_zoom`."""
    async with job.complete() as tx:
        if meeting:
            await drift.mark_gone(tx, meeting, state)
        tx.publish(f"event:{job.id}")


async def _update(job: JobContext[Resources], context: service.MeetingContext, meeting: Meeting, number: int) -> None:
    """PATCH what differs from the plan Zoom last accepted, and read back what became of it.

    Where we cannot know what has become of the meeting meanwhile, it is read first: after a disconnect, when an admin
    asks, when something raised a doubt, or when a change got no answer. What was changed inside Zoom is undone when an
    admin asks and after a save.
    """
    undo, asked_at = meeting.observed is None or meeting.state == "unavailable", job.resources.clock.now()
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
    """What Zoom answered of instances counts whatever becomes of the change after it, and settles the doubt."""
    async with job.transaction() as tx:
        await drift.reconcile_instances(tx, meeting, zoom_meeting, asked_at)
        row = await service.lock(tx, meeting.id)
        if row.stale_since == meeting.stale_since:
            row.stale_since, row.synced_at = None, tx.now


async def _handle_missing(
    job: JobContext[Resources], context: service.MeetingContext, meeting: Meeting, error: NotFound
) -> None:
    """Only Zoom's own word that there is no such meeting says that it is gone. The number of one that is over runs out
    by itself, and nobody asks for it."""
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
    """Zoom has what is wanted, or `said` what it keeps instead; whoever may now be registered is looked at again. Of
    changes without an answer, `overdue` ones count no more, and after the others it is looked again."""
    pending = [each for each in meeting.unanswered if each not in overdue]
    async with job.complete(unanswered_changes.next_deadline(pending)) as tx:
        row = await service.lock(tx, meeting.id)
        desired = context.desired_plan(row)
        row.synced_version, row.unanswered = context.event.version, pending
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
    """Delete a meeting (the key) that no longer serves its event, with what attempts without answer left behind."""
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
            # Zoom refuses to delete a meeting that is running: that passes.
            raise RetryLater(str(error)) from error
    async with job.complete() as tx:
        row = await service.lock(tx, meeting.id)
        row.state, row.join_url, row.last_error = "retired", None, None
        tx.publish(f"event:{row.event_id}")


async def handle_meeting_created(job: JobContext[Resources]) -> None:
    """Zoom created a meeting (the key is a delivery): if one of ours lacks its answer on that host, look again."""
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
    """Zoom said that an instance started or ended (the key is a delivery)."""
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
    """Zoom said that a meeting was edited, deleted or brought back (the key is a delivery)."""
    async with job.complete() as tx:
        delivery = await inbox.get_delivery(tx, job.id)
        notification = await inbox.read_notification(tx, job.resources.encryption, job.id)
        account_ids = await inbox.resolve_account_ids(tx, job.id, notification)
        meeting = await drift.meeting_for(tx, account_ids, notification)
        if meeting is not None and meeting.state not in service.RETIRED_STATES:
            await drift.handle_changed(tx, meeting, notification, notification.occurred_at or delivery.received_at)
            tx.publish(f"event:{meeting.event_id}")


async def find_stale(job: JobContext[Resources]) -> None:
    """The sweep over meetings Zoom should have spoken of by now."""
    async with job.complete() as tx:
        await drift.find_stale(tx)
        await drift.close_abandoned(tx)


async def handle_recording(job: JobContext[Resources]) -> None:
    """Zoom said what became of recordings (the key is a delivery)."""
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
    """The sweep over instances whose recording Zoom should have told of by now."""
    async with job.complete() as tx:
        await recording_status.find_unreported(tx)


async def resync_account(job: JobContext[Resources]) -> None:
    """An account (the key) came or went, or its hosts changed: look again at everything that is to happen on it, also
    at what Zoom refused before."""
    async with job.complete() as tx:
        await service.clear_left_out(tx, job.id)
        for event_id in await service.upcoming_of_account(tx, job.id):
            tx.record(commands.SyncMeetingNow(event_id, job.id))
        for meeting in await service.retiring_of_account(tx, job.id):
            tx.record(commands.DeleteMeeting(meeting.id, meeting.account_id))
