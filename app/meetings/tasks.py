"""Making wanted and observed equal: the reactions that call Zoom about meetings."""

from app import facts
from app.accounts import budgets, grants, reservations
from app.clients.zoom import AccountClient, MeetingBody, MissingScopes, NotFound, ZoomError
from app.clients.zoom import Meeting as Said
from app.core import logs
from app.core.outbox import NotNow
from app.core.work import Work
from app.inbox import service as inbox
from app.meetings import creating, service
from app.meetings.instances import holding_of
from app.meetings.models import Meeting
from app.meetings.plan import MANUAL_APPROVAL, Plan, as_observed, changes, differences, lets_strangers_in, observation
from app.resources import Resources

log = logs.get("meetings")


async def sync(work: Work[Resources]) -> None:
    """Make the Zoom meeting of one event (the key) what the event wants: create it, change it, or let it go."""
    async with work.transaction() as tx:
        situation = await service.situation(tx, work.id)
        if situation is None:
            return
        if situation.on_another_host and situation.meeting:
            service.retire(tx, situation.meeting)
            situation.meeting = None
            tx.record(facts.MeetingSynced(work.id, None))
    try:
        await _converge(work, situation)
    except (ZoomError, NotNow) as error:
        async with work.transaction() as tx:
            await service.show_error(tx, work.id, error)
            tx.ring(f"event:{work.id}")
        raise


async def _converge(work: Work[Resources], situation: service.Situation) -> None:
    meeting = situation.meeting
    if not situation.wanted or situation.account is None:
        await _finished(work)
    elif situation.account.status == "disconnected":
        await _now_is(work, meeting, "unavailable")
    elif meeting is None or meeting.zoom_meeting_id is None:
        over = situation.event.status(work.resources.clock.now()) == "ended"
        await (_finished(work) if over else creating.create(work, situation))
    elif meeting.state == "deleted_at_zoom":
        await _finished(work)
    else:
        await _update(work, situation, meeting, meeting.zoom_meeting_id)


async def _finished(work: Work[Resources]) -> None:
    async with work.done() as tx:
        tx.ring(f"event:{work.id}")


async def _now_is(work: Work[Resources], meeting: Meeting | None, state: str) -> None:
    """The meeting cannot be entered any more: it is `unavailable` or `deleted_at_zoom`."""
    async with work.done() as tx:
        if meeting and meeting.state != state:
            row = await service.lock(tx, meeting.id)
            row.state = state
            tx.record(facts.MeetingSynced(work.id, row.account_id))
        tx.ring(f"event:{work.id}")


async def _update(work: Work[Resources], situation: service.Situation, meeting: Meeting, number: int) -> None:
    """PATCH what differs from the plan Zoom last accepted, and read back what became of it.

    Where we cannot know what has become of the meeting meanwhile, it is read first: after a disconnect, or when an
    admin asks. What was changed inside Zoom is then undone.
    """
    wanted, unsure = situation.plan(meeting.marker), meeting.observed is None or meeting.state == "unavailable"
    body = changes(meeting.pushed or {}, wanted)
    if body is None and not unsure and not meeting.orphan_markers:
        await _in_step(work, meeting, wanted, None)
        return
    zoom = await grants.zoom(work.resources, meeting.account_id)
    await creating.clear_orphans(work, zoom, meeting)
    try:
        said = await _read_back(zoom, number) if unsure else None
        if said is not None:
            body = changes(as_observed(meeting.pushed or {}, observation(said)), wanted)
        if body is not None:
            said = await _changed(work, zoom, meeting, body, wanted)
    except NotFound:
        await _now_is(work, meeting, "deleted_at_zoom")
        return
    await _in_step(work, meeting, wanted, said)


async def _changed(
    work: Work[Resources], zoom: AccountClient, meeting: Meeting, body: MeetingBody, wanted: Plan
) -> Said | None:
    """The meeting read back after a PATCH: Zoom drops what it does not support without a word."""
    assert meeting.zoom_meeting_id is not None  # noqa: S101 - asked by the caller
    await _patch(work, zoom, meeting, body, wanted)
    said = await _read_back(zoom, meeting.zoom_meeting_id)
    if said is not None and lets_strangers_in(wanted, observation(said)):
        await _patch(work, zoom, meeting, {"settings": {"approval_type": MANUAL_APPROVAL}}, wanted)
        said = await _read_back(zoom, meeting.zoom_meeting_id)
    return said


async def _read_back(zoom: AccountClient, number: int) -> Said | None:
    """What Zoom says of a meeting; None where the grant does not permit to ask."""
    try:
        return await zoom.get_meeting(number)
    except MissingScopes:
        return None


async def _patch(work: Work[Resources], zoom: AccountClient, meeting: Meeting, body: MeetingBody, wanted: Plan) -> None:
    assert meeting.zoom_meeting_id is not None  # noqa: S101 - asked by the caller
    subject = reservations.of_host(meeting.host_id)
    async with budgets.counted(work.resources, subject, budgets.MEETINGS_PER_HOST, creating.USED_UP):
        async with work.transaction() as tx:
            (await service.lock(tx, meeting.id)).state = "updating"
        await zoom.update_meeting(meeting.zoom_meeting_id, body)
    async with work.transaction() as tx:
        row = await service.lock(tx, meeting.id)
        row.pushed, row.observed = wanted, None


async def _in_step(work: Work[Resources], meeting: Meeting, wanted: Plan, said: Said | None) -> None:
    """Zoom has what is wanted, or `said` what it keeps instead; whoever may now be registered is looked at again."""
    resources = work.resources
    async with work.done() as tx:
        row = await service.lock(tx, meeting.id)
        before = (row.state in service.SERVING, row.protected)
        if said is not None or row.state in {meeting.state, "updating"}:
            row.state, row.last_error = "scheduled", service.possible_orphan(row)
        if said is None and row.observed is None:
            service.believe(row, wanted)
        if said is not None:
            row.pushed, row.synced_at = wanted, tx.now
            service.observe(row, said, resources.seal, resources.settings.zoom_origins)
            for difference in differences(wanted, row.observed or {}):
                log.info("zoom keeps another value", event_id=work.key, field=difference["field"])
        if before != (True, row.protected):
            tx.record(facts.MeetingSynced(work.id, row.account_id))
        tx.ring(f"event:{work.id}")


async def retire(work: Work[Resources]) -> None:
    """Delete a meeting (the key) that no longer serves its event, with what attempts without answer left behind."""
    async with work.transaction() as tx:
        meeting = await tx.session.get(Meeting, work.id)
        if meeting is None:
            return
    if meeting.zoom_meeting_id is not None or meeting.orphan_markers:
        zoom = await grants.zoom(work.resources, meeting.account_id)
        try:
            if meeting.zoom_meeting_id is not None:
                await creating.delete(zoom, meeting.zoom_meeting_id)
            await creating.clear_orphans(work, zoom, meeting)
        except ZoomError as error:
            if error.again != "never":
                raise
            # Zoom refuses to delete a meeting that is running: that passes.
            raise NotNow(str(error)) from error
    async with work.done() as tx:
        row = await service.lock(tx, meeting.id)
        row.state, row.join_url, row.last_error = "retired", None, None
        tx.ring(f"event:{row.event_id}")


async def notice(work: Work[Resources]) -> None:
    """Zoom created a meeting (the key is a delivery): if one of ours lacks its answer on that host, look again."""
    async with work.transaction() as tx:
        notification = await inbox.notification(tx, work.resources.seal, work.id)
        account_ids = await inbox.account_ids(tx, work.id, notification)
        undecided = await service.undecided(tx, account_ids, notification.host_id or "")
    async with work.done() as tx:
        for meeting in undecided:
            if meeting.state in service.SETTLED:
                tx.record(facts.MeetingRetired(meeting.id, meeting.account_id))
            else:
                tx.record(facts.SyncAsked(meeting.event_id, meeting.account_id))


async def note_instance(work: Work[Resources]) -> None:
    """Zoom said that an instance started or ended (the key is a delivery)."""
    async with work.done() as tx:
        notification = await inbox.notification(tx, work.resources.seal, work.id)
        account_ids = await inbox.account_ids(tx, work.id, notification)
        if notification.object_id is None or not notification.object_id.isdigit() or not notification.uuid:
            return
        meeting = await service.by_zoom_id(tx, account_ids, int(notification.object_id))
        if meeting is None:
            return
        holding = holding_of(notification, tx.now)
        await service.note(tx, meeting, notification.uuid, holding)
        if holding.ended_at and meeting.state in service.SETTLED:
            # A meeting cancelled while it ran may have outlived its deletion: delete it once more.
            tx.record(facts.MeetingRetired(meeting.id, meeting.account_id))
            tx.hurry(str(meeting.id))
        tx.ring(f"event:{meeting.event_id}")


async def converge_account(work: Work[Resources]) -> None:
    """An account (the key) came or went, or its hosts changed: look again at everything that is to happen on it."""
    async with work.done() as tx:
        for event_id in await service.upcoming_of_account(tx, work.id):
            tx.record(facts.SyncAsked(event_id, work.id))
        for meeting in await service.retiring_of_account(tx, work.id):
            tx.record(facts.MeetingRetired(meeting.id, meeting.account_id))
