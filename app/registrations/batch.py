"""Many registrations of one event made at once, up to thirty by one call, where the grant allows that.

An event that gets another meeting (on another host, on an account connected again) has everybody to register anew. The
single way is asked for all the same, only a little later, and the batch does the work of those rows it can take: so
nobody is added by both, whoever Zoom did not take goes the single way, and if the batch dies, everybody does.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import and_, or_, select

from app import facts
from app.accounts import budgets, grants
from app.accounts.models import Account
from app.clients.zoom import MAX_BATCH, AccountClient, Label, RateLimited, ZoomError, allows
from app.clients.zoom import Registrant as Answer
from app.core import db, logs, together
from app.core.outbox import LeaseLost, NotNow
from app.core.together import Taken
from app.core.work import Work
from app.meetings import service as meetings
from app.registrations import additions, at_zoom, attempts, registrants, seats
from app.registrations.attempts import Begun
from app.registrations.models import Registrant, Registration
from app.registrations.seats import Seat
from app.resources import Resources

SCOPE = "meeting:write:batch_registrants"
SINGLE = "registrations.sync"  # the reaction whose rows are done here
MANY = 5  # people; fewer are as quick one by one
HEAD_START = timedelta(seconds=30)  # before the single way begins by itself
HOLD = timedelta(seconds=30)  # longer than a call takes
LOOKED_AT = 300  # people
# Adds of one address and day by a batch: one, so that two are left for the single way.
ADDS_BY_BATCH = 1
log = logs.get("registrations")


async def crowd(tx: db.Tx, event_id: UUID, limit: int | None = None) -> tuple[UUID | None, Sequence[UUID]]:
    """Who is coming and not registered at the event's meeting yet, in the order of their answers, and the account that
    may add them together; nobody where it may not."""
    meeting = await meetings.current(tx, event_id)
    if meeting is None or meeting.zoom_meeting_id is None or meeting.state not in meetings.SERVING:
        return None, []
    account = await tx.session.get_one(Account, meeting.account_id)
    if not meeting.protected or account.status != "connected" or not allows(account.scopes, SCOPE):
        return None, []
    record = (Registrant.registration_id == Registration.id) & (Registrant.meeting_id == meeting.id)
    pending = and_(Registrant.state == "pending", Registrant.zoom_registrant_id.is_(None))
    unknown = or_(Registrant.id.is_(None), and_(pending, Registrant.attempt.is_(None)))
    coming = (Registration.rsvp == "going") & Registration.waiting_since.is_(None)
    found = await tx.session.scalars(
        select(Registration.id)
        .outerjoin(Registrant, record)
        .where(Registration.event_id == event_id, coming, unknown)
        .order_by(Registration.created_at, Registration.id)
        .limit(limit)
    )
    return account.id, found.all()


async def expect(tx: db.Tx, event_id: UUID) -> frozenset[UUID]:
    """Have a batch begin where many are to be registered; whose single way is to begin a little later then."""
    account_id, found = await crowd(tx, event_id)
    if len(found) < MANY:
        return frozenset()
    tx.record(facts.CrowdExpected(event_id, account_id))
    return frozenset(found)


async def add(work: Work[Resources]) -> None:
    """Register up to thirty people of one event (the key) by one call, and go on until nobody is left."""
    async with work.reading() as tx:
        account_id, found = await crowd(tx, work.id, LOOKED_AT)
    if account_id is None or not found:
        return
    zoom = await grants.zoom(work.resources, account_id, Label.HEAVY)
    async with together.taking(work, SINGLE, [str(one) for one in found], MAX_BATCH, HOLD) as taken:
        answers = await _added(work, zoom, taken)
    # Without an answer for anybody the single way is left to find out why.
    async with work.done(work.resources.clock.now() if answers else None):
        pass


async def _added(work: Work[Resources], zoom: AccountClient, taken: Taken) -> Mapping[str, Answer]:
    """Add those who wait in the rows taken, and settle these; what Zoom answered, by address."""
    people = await _people(work, taken)
    answers: Mapping[str, Answer] = {}
    try:
        if people:
            bodies = [at_zoom.body_of(one.seat.name, one.seat.email) for one in people]
            said = await zoom.add_registrants(people[0].seat.number, bodies)
            answers = {answer.email.casefold(): answer for answer in said}
    except (ZoomError, NotNow, LeaseLost) as error:
        log.info("no batch, one by one", event_id=work.key, people=len(people), reason=type(error).__name__)
        if not isinstance(error, LeaseLost):
            await attempts.failed(work, people, error)
        if isinstance(error, budgets.NOT_COUNTED):
            await _give_back(work, people)
        # The day's batches may be used up by other apps of the account; the single way has no such limit.
        if isinstance(error, LeaseLost) or (isinstance(error, RateLimited) and error.whole_lane and not error.daily):
            raise
    finally:
        await _settle(work, taken, people, answers)
    return answers


async def _people(work: Work[Resources], taken: Taken) -> list[Begun]:
    """Who of the rows taken is to be added at one meeting, as it stands now: no host, no address twice or that is not
    theirs, and nobody whose address was added before today. Their adds are counted and written down before the call."""
    people: dict[str, Seat] = {}
    for key in sorted(taken.rows):
        seat = await seats.read(work.resources, UUID(key))
        if seat and _to_be_added(seat):
            people.setdefault(seat.email.casefold(), seat)
    first = next(iter(people.values()), None)
    begun = []
    async with work.transaction() as tx:
        for seat in people.values():
            same = first is not None and seat.meeting_id == first.meeting_id
            if same and await budgets.spend(tx, additions.subject(seat), ADDS_BY_BATCH):
                try:
                    begun.append(await attempts.begin(tx, seat, "add"))
                except NotNow:
                    await budgets.give_back(tx, additions.subject(seat))
    return begun


async def _give_back(work: Work[Resources], people: Sequence[Begun]) -> None:
    # What this run has counted, and Zoom has not, nobody else gives back.
    async with work.unfenced() as tx:
        for subject in sorted(additions.subject(one.seat) for one in people):
            await budgets.give_back(tx, subject)


def _to_be_added(seat: Seat) -> bool:
    kept_out = seat.is_host or seat.denied or seat.not_theirs
    return seat.wanted and seat.protected and not (kept_out or seat.known)


async def _settle(work: Work[Resources], taken: Taken, people: Sequence[Begun], answers: Mapping[str, Answer]) -> None:
    """Keep the links Zoom answered with. Whoever else waited for the batch goes the single way now; rows with a moment
    of their own were not taken."""
    try:
        async with work.unfenced() as tx:
            ready, pending = await _keep(tx, work, people, answers)
            await together.hold(tx, taken)
            await together.settle(tx, taken, ready, list(taken.rows), pending, tx.now + registrants.LOOK_AGAIN)
    except LeaseLost:
        # Some go the single way by now, and find out there what became of them; the others follow.
        async with work.unfenced() as tx:
            await together.settle(tx, taken, (), list(taken.rows))
        raise


async def _keep(
    tx: db.Tx, work: Work[Resources], people: Sequence[Begun], answers: Mapping[str, Answer]
) -> tuple[list[str], list[str]]:
    """Write down what Zoom answered; the keys of those who are registered, and of those whose link is still to come."""
    ready, pending = list[str](), list[str]()
    for seat in (one.seat for one in people):
        answer = answers.get(seat.email.casefold())
        if answer is None:
            continue
        if not answer.join_url:
            await seats.keep(tx, work, seat, "pending", "Zoom has not made the link yet.", answer)
            pending.append(str(seat.registration_id))
        elif work.resources.zoom.is_link(answer.join_url):
            await seats.keep(tx, work, seat, "ready", None, answer)
            ready.append(str(seat.registration_id))
    return ready, pending
