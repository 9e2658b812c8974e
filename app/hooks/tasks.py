"""Reactions that tell the platform: what happened becomes messages, and messages are sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from app.accounts import service as accounts
from app.attendance import report
from app.attendance.views import view
from app.clients.hooks import HookError
from app.core import db, logs, together
from app.core.outbox import NotNow
from app.core.together import Batch
from app.core.work import Work
from app.events import service as events
from app.events.models import Event
from app.hooks import schedule, secrets, service
from app.hooks.kinds import AccountState, AttendanceState, EventState, RegistrationState
from app.hooks.models import HookAttempt, HookEndpoint, HookMessage, HookTold
from app.hooks.news import Standing, news
from app.registrations.models import Registration, is_guest
from app.resources import Resources

KEPT = timedelta(days=30)
TELL_REGISTRATION = "hooks.tell_registration"
TOLD_AT_ONCE = 50  # with fifty endpoints each is a hundred statements
# A message whose turn has come is asked for; should that ever be missed, it looks by itself.
LOOKS_AGAIN = timedelta(minutes=1)
GONE = 410
GONE_REASON = "The endpoint answered 410 Gone: it wants no more messages."
log = logs.get("hooks")


async def tell_event(work: Work[Resources]) -> None:
    """An event (the key) went live or ended, or its host has not come: tell what was not told yet, in order."""
    async with work.done() as tx:
        await _tell_event(tx, work.id)


async def _tell_event(tx: db.Tx, event_id: UUID) -> Event | None:
    """The event, locked, so that nobody else tells of it meanwhile; None where there is none."""
    event = await events.lock(tx, event_id)
    if event is None:
        return None
    row = await tx.session.get(HookTold, event_id)
    if row is None:
        row = HookTold(event_id=event_id, live=False, holdings=0)
        tx.session.add(row)
    told = Standing(row.live, row.holdings, row.host_missed_at)
    now = _standing(event, told)
    data = EventState.model_validate(
        {"community_id": event.community_id, "event_id": event.id, "status": event.status(tx.now)}
    )
    for kind in news(told, now):
        await service.tell(tx, event.community_id, kind, event.id, data)
    row.live, row.holdings, row.host_missed_at = now
    return event


def _standing(event: Event, told: Standing) -> Standing:
    """How an event stands. Of one that is cancelled nothing new is told but the end, and who is told that it is live is
    told that it ended, also where it was deleted meanwhile."""
    cancelled_at = event.cancelled_at
    live = event.live_at is not None and (cancelled_at is None or event.live_at < cancelled_at)
    holdings = event.holdings if cancelled_at is None else told.holdings
    missed = event.host_missed_at if event.deleted_at is None else told.host_missed_at
    return Standing(live, holdings, missed)


async def tell_attendance(work: Work[Resources]) -> None:
    """The attendance of an event (the key) is complete; told once for each end of the event, and after it."""
    async with work.done() as tx:
        event = await events.get(tx, work.id)
        if event is None or event.deleted_at is not None or event.ended_at is None:
            return
        people = view(await report.of_event(tx, event), tx.now).items
        data = AttendanceState(
            community_id=event.community_id,
            event_id=event.id,
            ended_at=event.ended_at,
            present=len(people),
            attended=sum(each.attended for each in people),
        )
        await _tell_event(tx, event.id)
        counts = ("present", "attended")
        await service.tell(tx, event.community_id, "attendance.final", event.id, data, only_news=True, but_for=counts)


async def tell_registration(work: Work[Resources]) -> None:
    """Answers changed: the key's, and those that wait beside it, as thousands may come at once. Who was told the same
    before is not told again."""
    held = work.resources
    others = together.beside(work, held.db.hot, TELL_REGISTRATION, _tell_registrations, TOLD_AT_ONCE)
    async with others, work.done() as tx:
        await _tell_registrations(tx, [work.key])


async def _tell_registrations(tx: db.Tx, keys: Sequence[str]) -> Batch:
    """Tell of registrations whose community has an endpoint that asked for it; the others cost nothing more."""
    kind = "registration.changed"
    found = await tx.session.execute(
        select(Registration, Event.community_id)
        .join(Event, Event.id == Registration.event_id)
        .where(Registration.id.in_([UUID(key) for key in keys]), service.asked(Event.community_id, kind).exists())
        .order_by(Registration.id)
    )
    for registration, community_id in found:
        data = RegistrationState.model_validate(
            {
                "community_id": community_id,
                "event_id": registration.event_id,
                "registration_id": registration.id,
                "member_id": None if is_guest(registration.member_id) else registration.member_id,
                "rsvp": registration.rsvp,
                "waiting": registration.waiting_since is not None,
            }
        )
        await service.tell(tx, community_id, kind, registration.id, data, only_news=True)
    return Batch(done=list(keys))


async def tell_account(work: Work[Resources]) -> None:
    """Zoom no longer accepts the connection of an account (the key), unless it was connected again meanwhile."""
    async with work.done() as tx:
        account = await accounts.get(tx, work.id)
        if account is not None and account.status == "needs_reauth":
            data = AccountState(community_id=account.community_id, account_id=account.id, status="needs_reauth")
            await service.tell(tx, account.community_id, "account.needs_reauth", account.id, data)


@dataclass(frozen=True)
class Letter:
    """What is needed to send a message once."""

    url: str
    body: str
    signing: tuple[str, ...]
    tenant: str


@dataclass(frozen=True)
class Outcome:
    """How one sending went: the status that was answered, or why none was."""

    at: datetime
    status: int | None = None
    problem: str | None = None

    @property
    def arrived(self) -> bool:
        """Whether the endpoint took it. A redirect is none of ours to follow."""
        return self.status is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        return f"the endpoint answered {self.status}" if self.status else str(self.problem)


async def send(work: Work[Resources]) -> None:
    """Send a message (the key) to its endpoint; the same id and body every time, until it was taken or is given up.

    One about the same subject that was made before and still waits goes first; once it is settled this one is due.
    """
    async with work.reading() as tx:
        look_at = await _turn(tx, work.id)
        letter = None if look_at else await _letter(tx, work)
    if letter is None:
        async with work.done(look_at) as tx:
            await _let_be(tx, work.id, look_at)
        return
    outcome = await _sent(work, letter)
    if outcome.arrived or outcome.status == GONE:
        async with work.done() as tx:
            await _settled(tx, work.id, letter, outcome)
        return
    async with work.transaction() as tx:
        again_at = await _put_off(tx, work.id, letter, outcome)
    if again_at is not None:
        raise NotNow(str(outcome), "at", again_at, unless_asked=True)
    raise NotNow(f"given up: {outcome}", "never")


async def _turn(tx: db.Tx, message_id: UUID) -> datetime | None:
    """When to look whether a message's turn has come, at the latest; None where it has."""
    message = await tx.session.get(HookMessage, message_id)
    if message is None or message.state != "waiting":
        return None
    before = service.about_the_same(message).where(HookMessage.number < message.number)
    first = await tx.session.scalar(before.order_by(HookMessage.number).limit(1))
    if first is None:
        return None
    return max(tx.now, first.next_at or tx.now) + LOOKS_AGAIN


async def _letter(tx: db.Tx, work: Work[Resources]) -> Letter | None:
    """None where nothing is to be sent: it was taken, or the endpoint is gone or switched off."""
    message = await tx.session.get(HookMessage, work.id)
    endpoint = await tx.session.get(HookEndpoint, message.endpoint_id) if message else None
    if message is None or endpoint is None or message.state == "delivered" or not endpoint.enabled:
        return None
    signing = secrets.signing(endpoint, work.resources.seal, tx.now)
    return Letter(endpoint.url, message.body, signing, endpoint.community_id)


async def _let_be(tx: db.Tx, message_id: UUID, look_at: datetime | None) -> None:
    """A message that is not sent waits for its turn until `look_at`. Without one it is given up, unless it was taken
    before."""
    message = await tx.session.get(HookMessage, message_id, with_for_update=True)
    if message is None or message.state == "delivered":
        return
    if look_at:
        message.next_at = look_at
        return
    message.state, message.next_at = "given_up", None
    endpoint = await tx.session.get_one(HookEndpoint, message.endpoint_id)
    await service.let_next(tx, message, endpoint.community_id)


async def _sent(work: Work[Resources], letter: Letter) -> Outcome:
    now = work.resources.clock.now
    try:
        hooks = work.resources.hooks
        status = await hooks.send(letter.url, work.key, letter.body, letter.signing, now(), letter.tenant)
    except HookError as error:
        return Outcome(now(), problem=str(error))
    return Outcome(now(), status)


async def _settled(tx: db.Tx, message_id: UUID, letter: Letter, outcome: Outcome) -> None:
    """The endpoint took the message, or wants no more at all: no more at the address it had then."""
    message = await tx.session.get(HookMessage, message_id)
    if message is None:
        return
    if outcome.status == GONE:
        # Endpoints are locked before their messages, wherever both are.
        endpoint = await tx.session.get(HookEndpoint, message.endpoint_id, with_for_update={"key_share": True})
        if endpoint is not None and endpoint.url == letter.url:
            service.switch(endpoint, enabled=False, reason=GONE_REASON)
            log.warning("endpoint is gone", hook_id=str(endpoint.id))
    await _note(tx, message_id, letter, outcome, "delivered" if outcome.arrived else "given_up", None)


async def _put_off(tx: db.Tx, message_id: UUID, letter: Letter, outcome: Outcome) -> datetime | None:
    """When the message is to be sent again; None where it is given up."""
    message = await tx.session.get(HookMessage, message_id, with_for_update=True)
    attempts = message.attempts + 1 if message else 1
    again_at = schedule.next_at(attempts, outcome.status, tx.now)
    await _note(tx, message_id, letter, outcome, "waiting" if again_at else "given_up", again_at)
    return again_at


async def _note(
    tx: db.Tx, message_id: UUID, letter: Letter, outcome: Outcome, state: str, next_at: datetime | None
) -> None:
    message = await tx.session.get(HookMessage, message_id, with_for_update=True, populate_existing=True)
    if message is None:
        return
    message.state, message.attempts, message.next_at = state, message.attempts + 1, next_at
    tx.session.add(HookAttempt(message_id=message_id, at=outcome.at, status=outcome.status, problem=outcome.problem))
    if state != "waiting":
        await service.let_next(tx, message, letter.tenant)


async def tidy(work: Work[Resources]) -> None:
    """Delete what has served its time: former secrets, and messages of a month ago with their attempts."""
    async with work.done() as tx:
        await secrets.forget_former(tx)
        pruned = await tx.run(
            "DELETE FROM hook_messages WHERE state <> 'waiting' AND created_at < :before"
            " RETURNING endpoint_id, id, state",
            before=tx.now - KEPT,
        )
        given_up = [row for row in pruned if row.state == "given_up"]
        endpoints = select(HookEndpoint).where(HookEndpoint.id.in_({row.endpoint_id for row in given_up}))
        by_id = {endpoint.id: endpoint for endpoint in await tx.session.scalars(endpoints)}
        service.let_go(tx, [(by_id[row.endpoint_id], row.id) for row in given_up])
