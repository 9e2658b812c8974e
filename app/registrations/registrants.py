"""One registration and Zoom's record of it: what is wanted, and the one call that brings them together."""

import contextlib
from datetime import datetime, timedelta

from app import facts
from app.accounts import budgets, grants
from app.accounts.trouble import NoToken
from app.clients.zoom import (
    AccountClient,
    ForeignHost,
    HostCannotRegister,
    Label,
    MeetingFull,
    MeetingOver,
    NotFound,
    RateLimited,
    RegistrationOff,
    ZoomError,
)
from app.clients.zoom import Registrant as Answer
from app.core import db, outbox
from app.core.outbox import NotNow
from app.core.work import Work
from app.events import service as events
from app.events.models import Event
from app.meetings import drift
from app.meetings import service as meetings
from app.registrations import at_zoom, new_links, rivals, seats
from app.registrations.models import Registration
from app.registrations.new_links import REPLACED, SAME_LINK
from app.registrations.seats import Known, Seat
from app.resources import Resources

# A link that did not come with the answer is looked for soon, and if that did not help, in no hurry: each look may
# cost one of the three additions a day.
LOOK_AGAIN, LOOK_LATER = timedelta(seconds=20), timedelta(minutes=10)
# So long a registrant is kept who may come back: nothing Zoom says lets one hope that a cancelled registrant can be
# approved again, so coming back would cost another of the three additions.
CHANGE_OF_MIND = timedelta(minutes=1)
TOO_MANY_TODAY = "Zoom takes no more of this today; it goes on after midnight UTC."
DISCONNECTED = "The organisers must connect their Zoom account again first."
FOREIGN_LINK = "Zoom answered with a link that is not Zoom's."
PUT_RIGHT = "The organisers' connection to Zoom does not work at the moment; it goes on by itself afterwards."
TRIED_AGAIN = "Zoom does not answer as it should right now; it is tried again by itself."
# Refusals that are a state of the registrant and no fault: (state, what a person is told).
REFUSALS: dict[type[ZoomError], tuple[str, str]] = {
    HostCannotRegister: ("host", "Hosts and alternative hosts come in by starting the meeting."),
    RegistrationOff: ("unsupported", "This meeting has no personal links."),
    MeetingFull: ("failed", "Zoom says that the meeting is full."),
    MeetingOver: ("failed", "Zoom says that the meeting is over."),
}


async def sync(work: Work[Resources]) -> None:
    """Add, approve, cancel or leave alone: whatever makes Zoom's record what the answer wants."""
    seat = await seats.read(work.resources, work.id)
    if seat is None:
        await _nothing(work)
        return
    try:
        await _converge(work, seat)
    except NotFound:
        await _meeting_gone(work, seat)
    except budgets.UsedUp as error:
        await _go_on_at(work, error)
    except seats.RecordChanged:
        raise
    except (ZoomError, NotNow) as error:
        if not meetings.passes_soon(error, work.resources.clock.now()):
            async with work.transaction() as tx:
                await _explain(tx, work, error)
        raise


async def _go_on_at(work: Work[Resources], error: budgets.UsedUp) -> None:
    """Wait for the day's end, as done as can be: whoever asks meanwhile has it looked at at once."""
    now, retry_at = work.resources.clock.now(), error.retry_at
    async with work.done(retry_at + outbox.stagger(retry_at, now) if retry_at else None) as tx:
        await _explain(tx, work, error)
        tx.ring(f"registration:{work.id}")


async def _explain(tx: db.Tx, work: Work[Resources], error: ZoomError | NotNow) -> None:
    """Tell the member why they have no link; what was attempted meanwhile is still to be found out."""
    seat = await seats.read(work.resources, work.id)
    if seat is None or not seat.wanted or seat.ready or seat.not_theirs or seat.denied:
        return
    due, barred = (seat.record.cancel_due, seat.record.barred) if seat.record else (False, False)
    retry_at = error.retry_at if error.again == "at" else None
    await seats.keep(
        tx, work, seat, "pending", why(error), cancel_due=due, barred=barred, in_doubt=True, retry_at=retry_at
    )


async def _converge(work: Work[Resources], seat: Seat) -> None:
    _wait_for_the_opposite(seat, work.resources.clock.now())
    if seat.record and seat.record.cancel_due:
        await _take_back(work, seat, seat.record)
    elif seat.barred or seat.denied:
        await _nothing(work, seat)
    elif seat.wanted and (seat.is_host or not seat.protected):
        state, reason = REFUSALS[HostCannotRegister if seat.is_host else RegistrationOff]
        await _write(work, seat, state, reason)
    elif seat.wanted and seat.not_theirs:
        await _refuse(work, seat, seat.not_theirs)
    elif seat.known and not seat.wanted and (kept_until := _kept_until(seat, seat.known)) > work.resources.clock.now():
        await _nothing(work, seat, kept_until)
    elif seat.known and (not seat.wanted or seat.under_another_address):
        await _cancel(work, seat, seat.known)
    elif seat.wanted and (seat.doubted or not seat.ready):
        await _add(work, seat)
    elif seat.record and seat.record.state == "pending" and not seat.wanted:
        await _write(work, seat, "cancelled", None)  # Zoom never had them
    else:
        await _nothing(work, seat)


def _wait_for_the_opposite(seat: Seat, now: datetime) -> None:
    """While Zoom may still be at the opposite of what is wanted now, a call of ours might come first, and be undone.
    Raises NotNow until then."""
    attempt = seat.record.attempt if seat.record else None
    if attempt is None or attempt.ends_at <= now:
        return
    added = seat.wanted and not (seat.under_another_address or (seat.record and seat.record.cancel_due))
    if added == (attempt.kind == "cancel"):
        raise NotNow("Zoom may still be at what was asked before", "at", attempt.ends_at)


async def _refuse(work: Work[Resources], seat: Seat, reason: str) -> None:
    """The address does not identify the member at Zoom: no call is made with it, and what is known under it ends. While
    somebody else has the address it is looked at again, lest word of its becoming free be lost."""
    if seat.known:
        await _cancel(work, seat, seat.known)
    else:
        await _write(work, seat, "failed", reason, again=LOOK_LATER if seat.verified else None)


def _kept_until(seat: Seat, known: Known) -> datetime:
    """Until when a registrant is not cancelled. A guest does not change their mind: an admin took them off."""
    return known.since + (timedelta() if seat.is_guest else CHANGE_OF_MIND)


async def _nothing(work: Work[Resources], seat: Seat | None = None, again_at: datetime | None = None) -> None:
    async with work.done(again_at) as tx:
        if seat:
            await _tell_rivals(tx, seat, "")
        tx.ring(f"registration:{work.id}")


async def _tell_rivals(tx: db.Tx, seat: Seat, state: str) -> None:
    """Have those looked at again whom it concerns whether this member has the address or not: who waits for it once it
    is free, and whoever else came by it at the same moment."""
    registration = await tx.session.get_one(Registration, seat.registration_id)
    if state == "ready":
        concerned = await rivals.coming(tx, registration, seat.email)
    elif not seat.wanted or not seat.verified or seat.under_another_address:
        had = {seat.email, seat.record.email} if seat.record else {seat.email}
        concerned = await rivals.told_taken(tx, registration, seat.meeting_id, *had)
    else:
        return
    event = await tx.session.get_one(Event, registration.event_id)
    for registration_id in concerned:
        tx.record(facts.RegistrationChanged(registration_id, seat.account_id, event.community_id))


async def _add(work: Work[Resources], seat: Seat) -> None:
    """Register the member, or find out that Zoom has them."""
    known = seat.known
    label = Label.MEDIUM if known and (seat.can_list or _waits_for_approval(known)) else Label.LIGHT
    zoom = await grants.zoom(work.resources, seat.account_id, label, urgent=work.urgent)
    try:
        answer = await _known_there(work, zoom, seat, known) if known else None
        if answer is None:
            seat, answer = await at_zoom.add(work, zoom, seat)
    except NotFound:
        raise
    except ZoomError as error:
        if error.again != "never":
            raise
        state, reason = REFUSALS.get(type(error), ("failed", f"Zoom refused: {error.message}"))
        seat = await seats.read(work.resources, work.id) or seat
        await _write(work, seat, state, reason, again=_tried_again(seat, error))
    else:
        await _registered(work, seat, answer)


def _tried_again(seat: Seat, refusal: ZoomError) -> timedelta | None:
    """When it is worth while to add somebody again. A full meeting may still hold the place of somebody who withdrew a
    moment ago, and later that of somebody who will."""
    if not isinstance(refusal, MeetingFull):
        return None
    return LOOK_LATER if seat.record and seat.record.state == "failed" else CHANGE_OF_MIND


def _waits_for_approval(registrant: Known) -> bool:
    """Whether Zoom has answered our addition, and made no link."""
    attempt = registrant.attempt
    return registrant.zoom_registrant_id is not None and (attempt is None or attempt.kind == "approve")


async def _known_there(work: Work[Resources], zoom: AccountClient, seat: Seat, registrant: Known) -> Answer | None:
    """The link of a registrant Zoom has, or may have, where it lets us list them; who still waits is approved."""
    found = await at_zoom.listed(zoom, seat) if seat.can_list else None
    if found is not None or not _waits_for_approval(registrant):
        return found
    await at_zoom.set_status(work, zoom, seat, registrant, "approve")
    return await at_zoom.listed(zoom, seat) if seat.can_list else None


async def _registered(work: Work[Resources], seat: Seat, answer: Answer) -> None:
    """Keep the link, sealed, if it is one of Zoom's; without a link the registrant waits and is looked at again."""
    if answer.join_url and not work.resources.zoom.is_link(answer.join_url):
        await _write(work, seat, "failed", FOREIGN_LINK, answer)
    elif answer.join_url and await _taken_back_before(work, seat, answer.join_url):
        # Zoom may have approved it anew, so it is cancelled once more.
        again = timedelta()
        await _write(work, seat, "cancelled", SAME_LINK, answer, again=again, cancel_due=True, barred=True)
    elif answer.join_url:
        await _write(work, seat, "ready", None, answer)
    else:
        again = LOOK_LATER if seat.known and seat.known.zoom_registrant_id else LOOK_AGAIN
        await _write(work, seat, "pending", "Zoom has not made the link yet.", answer, again=again)


async def _taken_back_before(work: Work[Resources], seat: Seat, link: str) -> bool:
    return seat.record is not None and await new_links.was_taken_back(work.resources, seat.record.id, link)


async def _take_back(work: Work[Resources], seat: Seat, record: Known) -> None:
    """End a link at Zoom, whoever else it was made for; then, if Zoom has not shown to have none, make another."""
    zoom = await grants.zoom(work.resources, seat.account_id, Label.MEDIUM, urgent=work.urgent)
    with contextlib.suppress(RegistrationOff, MeetingOver):
        seat = await at_zoom.set_status(work, zoom, seat, record, "cancel")
    again = timedelta() if seat.wanted and not seat.barred else None
    reason = SAME_LINK if record.barred else REPLACED if seat.wanted else None
    await _write(work, seat, "cancelled", reason, again=again, barred=record.barred)


async def _cancel(work: Work[Resources], seat: Seat, registrant: Known) -> None:
    """Take the registrant off; Zoom confirms without proof. Who only changed address is then added anew.

    To Zoom one address is one registrant, also where a guest and a member have it: it stays while either is coming.
    """
    async with work.reading() as tx:
        registration = await tx.session.get_one(Registration, seat.registration_id)
        still_coming = await rivals.coming(tx, registration, registrant.email)
    if not still_coming:
        zoom = await grants.zoom(work.resources, seat.account_id, Label.MEDIUM, urgent=work.urgent)
        # Then there is nothing left to be taken off.
        with contextlib.suppress(RegistrationOff, MeetingOver):
            seat = await at_zoom.set_status(work, zoom, seat, registrant, "cancel")
    await _write(work, seat, "cancelled", None, again=timedelta() if seat.wanted else None)


async def _meeting_gone(work: Work[Resources], seat: Seat) -> None:
    """Zoom says that there is no such meeting: it is read, and if that says otherwise the member is looked at again."""
    async with work.done(work.resources.clock.now() + LOOK_LATER) as tx:
        meeting = await meetings.lock(tx, seat.meeting_id)
        if meeting.state in meetings.SERVING and not await drift.doubt(tx, meeting):
            await drift.gone(tx, meeting)
        tx.ring(f"registration:{work.id}")
        tx.ring(events.topic(meeting.event_id))


async def _write(
    work: Work[Resources],
    seat: Seat,
    state: str,
    reason: str | None,
    answer: Answer | None = None,
    *,
    again: timedelta | None = None,
    cancel_due: bool = False,
    barred: bool = False,
) -> None:
    async with work.done(work.resources.clock.now() + again if again is not None else None) as tx:
        await seats.keep(tx, work, seat, state, reason, answer, cancel_due=cancel_due, barred=barred)
        await _tell_rivals(tx, seat, state)
        if state == "unsupported" and seat.protected:
            (await meetings.lock(tx, seat.meeting_id)).protected = False


def why(error: ZoomError | NotNow) -> str:
    """What a member is told of a call that has to wait."""
    if isinstance(error, NoToken | ForeignHost):
        return PUT_RIGHT if error.again == "parked" else TRIED_AGAIN
    if error.again == "parked":
        return DISCONNECTED
    if isinstance(error, NotNow) and error.again == "at":
        return str(error)
    return TOO_MANY_TODAY if isinstance(error, RateLimited) and error.daily else TRIED_AGAIN
