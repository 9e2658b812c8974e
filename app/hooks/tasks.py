"""Jobs that create messages about events, attendance, registrations and accounts, send them, and clean up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from app.accounts import service as accounts
from app.attendance import report
from app.attendance.schemas import to_view
from app.clients.hooks import HookError
from app.core import database, logs
from app.core.batching import BatchResult
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.events import service as events
from app.events.models import Event
from app.hooks import retry_schedule, secrets, service
from app.hooks.event_transitions import AnnouncedState, transitions
from app.hooks.models import HookAttempt, HookEndpoint, HookEventState, HookMessage
from app.hooks.payloads import AccountState, AttendanceState, EventState, RegistrationState
from app.registrations.models import Registration, is_guest
from app.resources import Resources

# As the API promises for the list of attempts.
MESSAGE_RETENTION = timedelta(days=30)
# `wake_next` requests a message whose turn has come. If that is ever missed, its job checks again after this time.
TURN_RECHECK_DELAY = timedelta(minutes=1)
GONE_STATUS = 410
GONE_REASON = "The endpoint answered 410 Gone: it wants no more messages."
log = logs.get("hooks")


async def create_event_messages(job: JobContext[Resources]) -> None:
    """Announce what has changed about an event (the key) since the last messages, in order.

    It went live or ended, or its host has not come.
    """
    async with job.complete() as tx:
        await _create_event_messages(tx, job.id)


async def _create_event_messages(tx: database.Tx, event_id: UUID) -> Event | None:
    """Create the messages and return the event, or None if it does not exist.

    The event is locked, so that no other job creates the same messages.
    """
    event = await events.lock(tx, event_id)
    if event is None:
        return None
    row = await tx.session.get(HookEventState, event_id)
    if row is None:
        row = HookEventState(event_id=event_id, live=False, ended_runs=0)
        tx.session.add(row)
    announced = AnnouncedState(row.live, row.ended_runs, row.host_missed_at)
    current = _current_state(event, announced)
    data = EventState.model_validate(
        {"community_id": event.community_id, "event_id": event.id, "status": event.status(tx.now)}
    )
    for kind in transitions(announced, current):
        await service.create_messages(tx, event.community_id, kind, event.id, data)
    row.live, row.ended_runs, row.host_missed_at = current
    return event


def _current_state(event: Event, announced: AnnouncedState) -> AnnouncedState:
    """Return the state of an event that may be announced.

    Of a cancelled event only the end is announced. An event announced as live is also announced as ended, even if it
    was deleted meanwhile.
    """
    cancelled_at = event.cancelled_at
    live = event.live_at is not None and (cancelled_at is None or event.live_at < cancelled_at)
    ended_runs = event.ended_runs if cancelled_at is None else announced.ended_runs
    host_missed_at = event.host_missed_at if event.deleted_at is None else announced.host_missed_at
    return AnnouncedState(live, ended_runs, host_missed_at)


async def create_attendance_messages(job: JobContext[Resources]) -> None:
    """Announce that the attendance of an event (the key) is final: once for each end, and after `event.ended`."""
    async with job.complete() as tx:
        event = await events.get(tx, job.id)
        if event is None or event.deleted_at is not None or event.ended_at is None:
            return
        attendees = to_view(await report.build(tx, event), tx.now).items
        data = AttendanceState(
            community_id=event.community_id,
            event_id=event.id,
            ended_at=event.ended_at,
            present=len(attendees),
            attended=sum(each.attended for each in attendees),
        )
        await _create_event_messages(tx, event.id)
        count_fields = ("present", "attended")
        await service.create_messages(
            tx, event.community_id, "attendance.final", event.id, data, skip_unchanged=True, ignored_fields=count_fields
        )


async def create_registration_messages(job: JobContext[Resources]) -> None:
    """Announce a changed registration (the key).

    An endpoint gets no message if its last one about the registration had the same data.
    """
    async with job.complete() as tx:
        await create_messages_for_registrations(job.resources, tx, [job.key])


async def create_messages_for_registrations(_: Resources, tx: database.Tx, keys: Sequence[str]) -> BatchResult:
    """Create messages for the registrations of communities that subscribe; the others cost nothing more."""
    kind = "registration.changed"
    found = await tx.session.execute(
        select(Registration, Event.community_id)
        .join(Event, Event.id == Registration.event_id)
        .where(Registration.id.in_([UUID(key) for key in keys]), service.subscribed(Event.community_id, kind).exists())
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
        await service.create_messages(tx, community_id, kind, registration.id, data, skip_unchanged=True)
    return BatchResult(done=list(keys))


async def create_account_messages(job: JobContext[Resources]) -> None:
    """Announce that Zoom no longer accepts an account's connection (the key), unless it was reconnected meanwhile."""
    async with job.complete() as tx:
        account = await accounts.get(tx, job.id)
        if account is not None and account.status == "needs_reauth":
            data = AccountState(community_id=account.community_id, account_id=account.id, status="needs_reauth")
            await service.create_messages(tx, account.community_id, "account.needs_reauth", account.id, data)


@dataclass(frozen=True)
class OutgoingMessage:
    """What one attempt to send a message needs."""

    url: str
    body: str
    signing_secrets: tuple[str, ...]
    tenant: str


@dataclass(frozen=True)
class AttemptResult:
    """The result of one attempt: the status of the response, or the problem if there was none."""

    at: datetime
    status: int | None = None
    problem: str | None = None

    @property
    def delivered(self) -> bool:
        """Whether the endpoint accepted the message. Redirects are not followed."""
        return self.status is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        return f"the endpoint answered {self.status}" if self.status else str(self.problem)


async def send(job: JobContext[Resources]) -> None:
    """Send a message (the key) to its endpoint, with the same id and body in every attempt.

    An earlier message about the same subject that is still waiting goes first; when it is delivered or given up, this
    one is requested.
    """
    async with job.read_only() as tx:
        recheck_at = await _recheck_at(tx, job.id)
        outgoing = None if recheck_at else await _load_outgoing(tx, job)
    if outgoing is None:
        async with job.complete(recheck_at) as tx:
            await _skip(tx, job.id, recheck_at)
        return
    result = await _attempt(job, outgoing)
    if result.delivered or result.status == GONE_STATUS:
        async with job.complete() as tx:
            await _record_final(tx, job.id, outgoing, result)
        return
    async with job.transaction() as tx:
        retry_at = await _schedule_retry(tx, job.id, outgoing, result)
    if retry_at is not None:
        raise RetryLater(str(result), "at", retry_at, unless_requested=True)
    raise RetryLater(f"given up: {result}", "never")


async def _recheck_at(tx: database.Tx, message_id: UUID) -> datetime | None:
    """Return when to check again whether it is the message's turn; None if it is its turn now."""
    message = await tx.session.get(HookMessage, message_id)
    if message is None or message.state != "waiting":
        return None
    earlier = service.waiting_about_subject(message).where(HookMessage.number < message.number)
    first = await tx.session.scalar(earlier.order_by(HookMessage.number).limit(1))
    if first is None:
        return None
    return max(tx.now, first.next_at or tx.now) + TURN_RECHECK_DELAY


async def _load_outgoing(tx: database.Tx, job: JobContext[Resources]) -> OutgoingMessage | None:
    """Return what to send; None if the message was delivered, or its endpoint is deleted or disabled."""
    message = await tx.session.get(HookMessage, job.id)
    endpoint = await tx.session.get(HookEndpoint, message.endpoint_id) if message else None
    if message is None or endpoint is None or message.state == "delivered" or not endpoint.enabled:
        return None
    signing_secrets = secrets.signing_secrets(endpoint, job.resources.encryption, tx.now)
    return OutgoingMessage(endpoint.url, message.body, signing_secrets, endpoint.community_id)


async def _skip(tx: database.Tx, message_id: UUID, recheck_at: datetime | None) -> None:
    """Without sending, let a message wait for its turn until `recheck_at`; with None, give it up.

    A delivered message stays as it is.
    """
    message = await tx.session.get(HookMessage, message_id, with_for_update=True)
    if message is None or message.state == "delivered":
        return
    if recheck_at:
        message.next_at = recheck_at
        return
    message.state = "given_up"
    message.next_at = None
    endpoint = await tx.session.get_one(HookEndpoint, message.endpoint_id)
    await service.wake_next(tx, message, endpoint.community_id)


async def _attempt(job: JobContext[Resources], outgoing: OutgoingMessage) -> AttemptResult:
    now = job.resources.clock.now
    try:
        hooks = job.resources.hooks
        status = await hooks.send(
            outgoing.url, job.key, outgoing.body, outgoing.signing_secrets, now(), outgoing.tenant
        )
    except HookError as error:
        return AttemptResult(now(), problem=str(error))
    return AttemptResult(now(), status)


async def _record_final(tx: database.Tx, message_id: UUID, outgoing: OutgoingMessage, result: AttemptResult) -> None:
    """Record that the endpoint accepted the message, or answered 410.

    410 disables the endpoint, unless its URL has changed since the attempt.
    """
    message = await tx.session.get(HookMessage, message_id)
    if message is None:
        return
    if result.status == GONE_STATUS:
        # Every transaction that locks both locks the endpoint before its messages.
        endpoint = await tx.session.get(HookEndpoint, message.endpoint_id, with_for_update={"key_share": True})
        if endpoint is not None and endpoint.url == outgoing.url:
            service.set_enabled(endpoint, enabled=False, reason=GONE_REASON)
            log.warning("hook endpoint gone", hook_id=str(endpoint.id))
    await _record_attempt(tx, message_id, outgoing, result, "delivered" if result.delivered else "given_up", None)


async def _schedule_retry(
    tx: database.Tx, message_id: UUID, outgoing: OutgoingMessage, result: AttemptResult
) -> datetime | None:
    """Record a failed attempt; returns when the next one is due, or None if the message is given up."""
    message = await tx.session.get(HookMessage, message_id, with_for_update=True)
    attempts = message.attempts + 1 if message else 1
    retry_at = retry_schedule.next_attempt_at(attempts, result.status, tx.now)
    await _record_attempt(tx, message_id, outgoing, result, "waiting" if retry_at else "given_up", retry_at)
    return retry_at


async def _record_attempt(
    tx: database.Tx,
    message_id: UUID,
    outgoing: OutgoingMessage,
    result: AttemptResult,
    state: str,
    next_at: datetime | None,
) -> None:
    message = await tx.session.get(HookMessage, message_id, with_for_update=True, populate_existing=True)
    if message is None:
        return
    message.state = state
    message.attempts += 1
    message.next_at = next_at
    tx.session.add(HookAttempt(message_id=message_id, at=result.at, status=result.status, problem=result.problem))
    if state != "waiting":
        await service.wake_next(tx, message, outgoing.tenant)


async def cleanup(job: JobContext[Resources]) -> None:
    """Delete expired secrets, and messages past their retention with their attempts."""
    async with job.complete() as tx:
        await secrets.drop_expired(tx)
        pruned = await tx.execute(
            "DELETE FROM hook_messages WHERE state <> 'waiting' AND created_at < :before"
            " RETURNING endpoint_id, id, state",
            before=tx.now - MESSAGE_RETENTION,
        )
        given_up = [row for row in pruned if row.state == "given_up"]
        endpoints = select(HookEndpoint).where(HookEndpoint.id.in_({row.endpoint_id for row in given_up}))
        by_id = {endpoint.id: endpoint for endpoint in await tx.session.scalars(endpoints)}
        service.wake_dead_jobs(tx, [(by_id[row.endpoint_id], row.id) for row in given_up])
