"""Making wanted and observed equal: the reactions that call Zoom about meetings."""

from collections.abc import Sequence
from datetime import datetime

from app import facts
from app.accounts import grants
from app.clients.zoom import Meeting as Said
from app.clients.zoom import MeetingBody, NotFound, ZoomError
from app.core import logs
from app.core.outbox import NotNow
from app.core.work import Work
from app.inbox import service as inbox
from app.meetings import changing, creating, drift, holdings, observed, recorded, service, unanswered
from app.meetings.instances import holding_of
from app.meetings.models import Meeting
from app.meetings.plan import Plan, as_observed, correction, differences, observation
from app.resources import Resources

NO_SUCH_MEETING = 3001  # developers.zoom.us/docs/api/meetings/#tag/meetings/GET/meetings/{meetingId}
log = logs.get("meetings")


async def sync(work: Work[Resources]) -> None:
    """Make the Zoom meeting of one event (the key) what the event wants: create it, change it, or let it go."""
    async with work.reading() as tx:
        situation = await service.situation(tx, work.id)
    if situation is None:
        return
    if situation.on_another_host and situation.meeting:
        async with work.transaction() as tx:
            service.retire(tx, await service.lock(tx, situation.meeting.id))
            tx.record(facts.MeetingSynced(work.id, None))
        situation.meeting = None
    try:
        await _converge(work, situation)
    except (ZoomError, NotNow) as error:
        if not _only_looks(situation):
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
    elif meeting.state == "deleted_at_zoom" and meeting.doubted_at is None:
        await _finished(work)
    else:
        await _update(work, situation, meeting, meeting.zoom_meeting_id)


def _only_looks(situation: service.Situation) -> bool:
    """Whether Zoom has what is wanted as far as is known, and is only asked whether it still has."""
    meeting = situation.meeting
    if meeting is None or not meeting.doubted_at or not meeting.observed or not situation.wanted:
        return False
    return _body(situation, meeting) is None


def _body(
    situation: service.Situation,
    meeting: Meeting,
    said: Plan | None = None,
    late: Sequence[unanswered.Change] = (),
    *,
    undo: bool = False,
) -> MeetingBody | None:
    """What is to be changed at Zoom, which just `said` what it has, or else as far as is known; None if nothing is.

    What `late` changes name and Zoom did not say is sent again. What people changed inside Zoom is undone after a save,
    and where it is asked to `undo` it.
    """
    observed = (meeting.observed or {}) if said is None else said
    pushed = unanswered.unknown(meeting.pushed or {}, late, said) or {}
    saved = meeting.carried_version not in {None, situation.event.version}
    has = as_observed(pushed, observed) if undo or saved else unanswered.known(pushed, observed, meeting.unanswered)
    return correction(has, observed, situation.asked(meeting))


async def _finished(work: Work[Resources]) -> None:
    async with work.done() as tx:
        tx.ring(f"event:{work.id}")


async def _now_is(work: Work[Resources], meeting: Meeting | None, state: str) -> None:
    """The meeting cannot be entered any more: it is `unavailable` or `deleted_at_zoom`."""
    async with work.done() as tx:
        if meeting:
            await drift.gone(tx, meeting, state)
        tx.ring(f"event:{work.id}")


async def _update(work: Work[Resources], situation: service.Situation, meeting: Meeting, number: int) -> None:
    """PATCH what differs from the plan Zoom last accepted, and read back what became of it.

    Where we cannot know what has become of the meeting meanwhile, it is read first: after a disconnect, when an admin
    asks, when something raised a doubt, or when a change got no answer. What was changed inside Zoom is undone when an
    admin asks and after a save.
    """
    undo, asked_at = meeting.observed is None or meeting.state == "unavailable", work.resources.clock.now()
    late = unanswered.overdue(meeting.unanswered, asked_at)
    unsure = undo or bool(late) or unanswered.is_unknown(meeting.pushed or {}, situation.asked(meeting))
    body = _body(situation, meeting, undo=undo)
    if body is None and not unsure and not meeting.doubted_at and not meeting.orphan_markers:
        await _in_step(work, situation, meeting, None)
        return
    zoom = await grants.zoom(work.resources, meeting.account_id)
    await creating.clear_orphans(work, zoom, meeting)
    try:
        said = await changing.read_back(zoom, number) if unsure or meeting.doubted_at else None
        if said is not None:
            await _noted(work, meeting, said, asked_at)
        body = _body(situation, meeting, observation(said) if said else None, late, undo=undo)
        if body is not None:
            said = await changing.change(work, zoom, situation, meeting, body)
    except NotFound as error:
        await _missing(work, situation, meeting, error)
    else:
        await _in_step(work, situation, meeting, said, late)


async def _noted(work: Work[Resources], meeting: Meeting, said: Said, asked_at: datetime) -> None:
    """What Zoom answered of instances counts whatever becomes of the change after it, and settles the doubt."""
    async with work.transaction() as tx:
        await drift.heal(tx, meeting, said, asked_at)
        row = await service.lock(tx, meeting.id)
        if row.doubted_at == meeting.doubted_at:
            row.doubted_at, row.synced_at = None, tx.now


async def _missing(work: Work[Resources], situation: service.Situation, meeting: Meeting, error: NotFound) -> None:
    """Only Zoom's own word that there is no such meeting says that it is gone. The number of one that is over runs out
    by itself, and nobody asks for it."""
    if error.code != NO_SUCH_MEETING:
        raise error
    if situation.event.status(work.resources.clock.now()) == "ended":
        async with work.done() as tx:
            (await service.lock(tx, meeting.id)).doubted_at = None
    else:
        await _now_is(work, meeting, "deleted_at_zoom")


async def _in_step(
    work: Work[Resources],
    situation: service.Situation,
    meeting: Meeting,
    said: Said | None,
    late: Sequence[unanswered.Change] = (),
) -> None:
    """Zoom has what is wanted, or `said` what it keeps instead; whoever may now be registered is looked at again. Of
    changes without an answer, `late` ones count no more, and after the others it is looked again."""
    waiting = [each for each in meeting.unanswered if each not in late]
    async with work.done(unanswered.settles_at(waiting)) as tx:
        row = await service.lock(tx, meeting.id)
        wanted = situation.asked(row)
        row.carried_version, row.unanswered = situation.event.version, waiting
        if row.doubted_at == meeting.doubted_at:
            row.doubted_at = None
        before = (row.state in service.SERVING, row.protected, row.join_url is not None)
        settled = said is not None or row.state in {meeting.state, "updating"}
        if said is None and row.observed is None:
            observed.believe(row, wanted)
        if said is not None or unanswered.is_unknown(row.pushed or {}, wanted):
            row.pushed = wanted
        if said is not None:
            row.synced_at = tx.now
            observed.observe(row, said, work.resources)
            for difference in differences(wanted, row.observed or {}):
                log.info("zoom keeps another value", event_id=work.key, field=difference["field"])
        if settled:
            observed.settle(row)
        if before != (True, row.protected, row.join_url is not None):
            tx.record(facts.MeetingSynced(work.id, row.account_id))
        tx.ring(f"event:{work.id}")


async def retire(work: Work[Resources]) -> None:
    """Delete a meeting (the key) that no longer serves its event, with what attempts without answer left behind."""
    async with work.reading() as tx:
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
    async with work.reading() as tx:
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
        delivery = await inbox.delivery(tx, work.id)
        notification = await inbox.notification(tx, work.resources.seal, work.id)
        account_ids = await inbox.account_ids(tx, work.id, notification)
        meeting = await drift.mentioned(tx, account_ids, notification)
        if meeting is None or not notification.uuid:
            return
        holding = holding_of(notification, delivery.received_at)
        await holdings.note(tx, meeting, notification.uuid, holding)
        if holding.ended_at and meeting.state in service.SETTLED:
            # A meeting cancelled while it ran may have outlived its deletion: delete it once more.
            tx.record(facts.MeetingRetired(meeting.id, meeting.account_id))
            tx.hurry(str(meeting.id))
        tx.ring(f"event:{meeting.event_id}")


async def note_change(work: Work[Resources]) -> None:
    """Zoom said that a meeting was edited, deleted or brought back (the key is a delivery)."""
    async with work.done() as tx:
        delivery = await inbox.delivery(tx, work.id)
        notification = await inbox.notification(tx, work.resources.seal, work.id)
        account_ids = await inbox.account_ids(tx, work.id, notification)
        meeting = await drift.mentioned(tx, account_ids, notification)
        if meeting is not None and meeting.state not in service.SETTLED:
            await drift.altered(tx, meeting, notification, notification.spoke_at or delivery.received_at)
            tx.ring(f"event:{meeting.event_id}")


async def doubt_stale(work: Work[Resources]) -> None:
    """The sweep over meetings Zoom should have spoken of by now."""
    async with work.done() as tx:
        await drift.doubt_stale(tx)
        await drift.close_abandoned(tx)


async def note_recording(work: Work[Resources]) -> None:
    """Zoom said what became of recordings (the key is a delivery)."""
    async with work.done() as tx:
        delivery = await inbox.delivery(tx, work.id)
        notification = await inbox.notification(tx, work.resources.seal, work.id)
        account_ids = await inbox.account_ids(tx, work.id, notification)
        await recorded.heard(tx, account_ids, notification, notification.spoke_at or delivery.received_at)


async def ask_recording(work: Work[Resources]) -> None:
    """Ask Zoom for the recording of an instance (the key)."""
    await recorded.ask(work)


async def miss_recordings(work: Work[Resources]) -> None:
    """The sweep over instances whose recording Zoom should have told of by now."""
    async with work.done() as tx:
        await recorded.miss(tx)


async def converge_account(work: Work[Resources]) -> None:
    """An account (the key) came or went, or its hosts changed: look again at everything that is to happen on it, also
    at what Zoom refused before."""
    async with work.done() as tx:
        await service.forget_refusals(tx, work.id)
        for event_id in await service.upcoming_of_account(tx, work.id):
            tx.record(facts.SyncAsked(event_id, work.id))
        for meeting in await service.retiring_of_account(tx, work.id):
            tx.record(facts.MeetingRetired(meeting.id, meeting.account_id))
