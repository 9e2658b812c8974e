"""The sync of one registration: adds, finds, approves or cancels its registrant at Zoom, and saves the result."""

import contextlib
from datetime import datetime, timedelta

from app import commands
from app.accounts import grants, quotas
from app.accounts.token_errors import TokenUnavailable
from app.clients.zoom import (
    AccountClient,
    HostCannotRegister,
    Label,
    MeetingFull,
    MeetingOver,
    NotFound,
    RateLimited,
    RegistrationOff,
    UntrustedHost,
    ZoomError,
)
from app.clients.zoom import Registrant as ZoomRegistrant
from app.core import database, outbox
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.events import service as events
from app.events.models import Event
from app.meetings import drift
from app.meetings import service as meetings
from app.registrants import address_conflicts, link_revocation, registrant_store, zoom_calls
from app.registrants.link_revocation import LINK_REPLACED, SAME_LINK_AGAIN
from app.registrants.registrant_store import RegistrantContext, RegistrantRecord
from app.registrations.models import Registration
from app.resources import Resources

# If Zoom's response contains no link, the sync looks again soon, and after that seldom: each look may cost one of the
# three additions a day.
RETRY_SOON = timedelta(seconds=20)
RETRY_LATE = timedelta(minutes=10)
# How long to wait before cancelling. Zoom documents no way to approve a cancelled registrant again, so a change of mind
# would cost another of the three additions a day.
CANCEL_GRACE = timedelta(minutes=1)
DAILY_LIMIT_REACHED = "Zoom takes no more of this today; it goes on after midnight UTC."
ACCOUNT_DISCONNECTED = "The organisers must connect their Zoom account again first."
UNTRUSTED_LINK = "Zoom answered with a link that is not Zoom's."
ACCOUNT_NEEDS_REPAIR = (
    "The organisers' connection to Zoom does not work at the moment; it goes on by itself afterwards."
)
RETRIED_AUTOMATICALLY = "Zoom does not answer as it should right now; it is tried again by itself."
# Refusals that are a state of the registrant and no failure of ours: (state, reason shown to people).
REFUSALS: dict[type[ZoomError], tuple[str, str]] = {
    HostCannotRegister: ("host", "Hosts and alternative hosts come in by starting the meeting."),
    RegistrationOff: ("unsupported", "This meeting has no personal links."),
    MeetingFull: ("failed", "Zoom says that the meeting is full."),
    MeetingOver: ("failed", "Zoom says that the meeting is over."),
}


async def sync_registrant(job: JobContext[Resources]) -> None:
    """Make Zoom's record what one registration (the key) asks for.

    The job adds, approves, cancels, or leaves the registrant alone.
    """
    context = await registrant_store.load(job.resources, job.id)
    if context is None:
        await _complete_unchanged(job)
        return
    try:
        await _converge(job, context)
    except NotFound:
        await _handle_missing_meeting(job, context)
    except quotas.QuotaExhausted as error:
        await _retry_after_reset(job, error)
    except registrant_store.RecordChanged:
        raise
    except (ZoomError, RetryLater) as error:
        if not meetings.is_brief_wait(error, job.resources.clock.now()):
            async with job.transaction() as tx:
                await _store_reason(tx, job, error)
        raise


async def _retry_after_reset(job: JobContext[Resources], error: quotas.QuotaExhausted) -> None:
    """Complete the job until the daily quota resets, so that a request meanwhile runs it at once."""
    retry_at = error.retry_at
    repeat_at = retry_at + outbox.jitter(retry_at, job.resources.clock.now()) if retry_at else None
    async with job.complete(repeat_at) as tx:
        await _store_reason(tx, job, error)
        tx.publish(f"registration:{job.id}")


async def _store_reason(tx: database.Tx, job: JobContext[Resources], error: ZoomError | RetryLater) -> None:
    """Store why the member has no link yet. An open attempt stays open."""
    context = await registrant_store.load(job.resources, job.id)
    if (
        context is None
        or not context.should_be_registered
        or context.is_ready
        or context.email_problem
        or context.is_denied
    ):
        return
    await registrant_store.save(
        tx,
        job,
        context,
        "pending",
        user_message(error),
        cancel_due=context.record is not None and context.record.cancel_due,
        link_blocked=context.record is not None and context.record.link_blocked,
        outcome_unknown=True,
        retry_at=error.retry_at if error.retry == "at" else None,
    )


async def _converge(job: JobContext[Resources], context: RegistrantContext) -> None:
    """Take the first step that is missing.

    The order matters: a revoked link is ended before anything else, and a denial holds against any addition.
    """
    _wait_for_opposite_call(context, job.resources.clock.now())
    if context.record and context.record.cancel_due:
        await _revoke_link(job, context, context.record)
    elif context.link_blocked or context.is_denied:
        await _complete_unchanged(job, context)
    elif context.should_be_registered and (context.is_host or not context.protected):
        state, reason = REFUSALS[HostCannotRegister if context.is_host else RegistrationOff]
        await _save(job, context, state, reason)
    elif context.should_be_registered and context.email_problem:
        await _refuse_email(job, context, context.email_problem)
    elif (
        context.record_at_zoom
        and not context.should_be_registered
        and (cancel_at := _cancel_at(context, context.record_at_zoom)) > job.resources.clock.now()
    ):
        await _complete_unchanged(job, context, cancel_at)
    elif context.record_at_zoom and (not context.should_be_registered or context.email_changed):
        await _cancel(job, context, context.record_at_zoom)
    elif context.should_be_registered and (context.is_stale or not context.is_ready):
        await _ensure_registered(job, context)
    elif context.record and context.record.state == "pending" and not context.should_be_registered:
        await _save(job, context, "cancelled", None)  # Zoom never had the registrant, so no call is needed.
    else:
        await _complete_unchanged(job, context)


def _wait_for_opposite_call(context: RegistrantContext, now: datetime) -> None:
    """Raise RetryLater while Zoom may still carry out the opposite of what is desired now.

    A call of ours could otherwise reach Zoom first and then be undone.
    """
    attempt = context.record.attempt if context.record else None
    if attempt is None or attempt.ends_at <= now:
        return
    adding = context.should_be_registered and not (
        context.email_changed or (context.record and context.record.cancel_due)
    )
    if adding == (attempt.kind == "cancel"):
        raise RetryLater("Zoom may still be at what was asked before", "at", attempt.ends_at)


async def _refuse_email(job: JobContext[Resources], context: RegistrantContext, reason: str) -> None:
    """Make no call with an address that does not identify the member, and cancel the registrant it has.

    If another member has the address, the sync looks again later, in case the notice that it became free is lost.
    """
    if context.record_at_zoom:
        await _cancel(job, context, context.record_at_zoom)
    else:
        await _save(job, context, "failed", reason, retry_in=RETRY_LATE if context.email_verified else None)


def _cancel_at(context: RegistrantContext, record: RegistrantRecord) -> datetime:
    """When to cancel a registrant who should not be registered.

    There is no grace for guests: they do not change their mind, an admin revoked them.
    """
    return record.updated_at + (timedelta() if context.is_guest else CANCEL_GRACE)


async def _complete_unchanged(
    job: JobContext[Resources], context: RegistrantContext | None = None, repeat_at: datetime | None = None
) -> None:
    """Complete the job without a change to the record, and run it again at `repeat_at`, if given."""
    async with job.complete(repeat_at) as tx:
        if context:
            await _resync_address_sharers(tx, context, "")
        tx.publish(f"registration:{job.id}")


async def _resync_address_sharers(tx: database.Tx, context: RegistrantContext, state: str) -> None:
    """Sync the registrations for which it matters whether this member has the address.

    These are the ones that wait for the address once it is free, and those that got it at the same moment.
    """
    registration = await tx.session.get_one(Registration, context.registration_id)
    if state == "ready":
        affected = await address_conflicts.others_going(tx, registration, context.email)
    elif not context.should_be_registered or not context.email_verified or context.email_changed:
        emails = {context.email, context.record.email} if context.record else {context.email}
        affected = await address_conflicts.waiting_for_address(tx, registration, context.meeting_id, *emails)
    else:
        return
    event = await tx.session.get_one(Event, registration.event_id)
    for registration_id in affected:
        tx.record(commands.SyncRegistration(registration_id, context.account_id, event.community_id))


async def _ensure_registered(job: JobContext[Resources], context: RegistrantContext) -> None:
    """Register the member, or find the registrant that Zoom has."""
    record = context.record_at_zoom
    label = Label.MEDIUM if record and (context.can_list or _awaits_approval(record)) else Label.LIGHT
    zoom = await grants.client_for(job.resources, context.account_id, label, urgent=job.urgent)
    try:
        zoom_registrant = await _find_at_zoom(job, zoom, context, record) if record else None
        if zoom_registrant is None:
            context, zoom_registrant = await zoom_calls.add(job, zoom, context)
    except NotFound:
        raise
    except ZoomError as error:
        if error.retry != "never":
            raise
        state, reason = REFUSALS.get(type(error), ("failed", f"Zoom refused: {error.message}"))
        context = await registrant_store.load(job.resources, job.id) or context
        await _save(job, context, state, reason, retry_in=_retry_delay(context, error))
    else:
        await _save_link(job, context, zoom_registrant)


def _retry_delay(context: RegistrantContext, refusal: ZoomError) -> timedelta | None:
    """How long to wait before adding somebody again whom Zoom refused; None if it is not worth while.

    A full meeting may still count somebody who withdrew a moment ago, and later somebody may withdraw.
    """
    if not isinstance(refusal, MeetingFull):
        return None
    return RETRY_LATE if context.record and context.record.state == "failed" else CANCEL_GRACE


def _awaits_approval(record: RegistrantRecord) -> bool:
    """Whether Zoom responded to our addition and made no link."""
    attempt = record.attempt
    return record.zoom_registrant_id is not None and (attempt is None or attempt.kind == "approve")


async def _find_at_zoom(
    job: JobContext[Resources], zoom: AccountClient, context: RegistrantContext, record: RegistrantRecord
) -> ZoomRegistrant | None:
    """The registrant that Zoom has or may have, with its link; approves one that still waits for approval.

    Returns None if it has no link, or if the grant may not list registrants.
    """
    zoom_registrant = await zoom_calls.find_approved(zoom, context) if context.can_list else None
    if zoom_registrant is not None or not _awaits_approval(record):
        return zoom_registrant
    await zoom_calls.set_status(job, zoom, context, record, "approve")
    return await zoom_calls.find_approved(zoom, context) if context.can_list else None


async def _save_link(job: JobContext[Resources], context: RegistrantContext, zoom_registrant: ZoomRegistrant) -> None:
    """Save the link, encrypted, if it leads to Zoom.

    Without a link the record waits, and the sync looks again.
    """
    if zoom_registrant.join_url and not job.resources.zoom.is_link(zoom_registrant.join_url):
        await _save(job, context, "failed", UNTRUSTED_LINK, zoom_registrant)
    elif zoom_registrant.join_url and await _was_revoked(job, context, zoom_registrant.join_url):
        # Zoom may have approved the registrant again, so the next run cancels it once more.
        await _save(
            job,
            context,
            "cancelled",
            SAME_LINK_AGAIN,
            zoom_registrant,
            retry_in=timedelta(),
            cancel_due=True,
            link_blocked=True,
        )
    elif zoom_registrant.join_url:
        await _save(job, context, "ready", None, zoom_registrant)
    else:
        retry_in = RETRY_LATE if context.record_at_zoom and context.record_at_zoom.zoom_registrant_id else RETRY_SOON
        await _save(job, context, "pending", "Zoom has not made the link yet.", zoom_registrant, retry_in=retry_in)


async def _was_revoked(job: JobContext[Resources], context: RegistrantContext, link: str) -> bool:
    """Whether this very link was revoked before."""
    return context.record is not None and await link_revocation.was_revoked(job.resources, context.record.id, link)


async def _revoke_link(job: JobContext[Resources], context: RegistrantContext, record: RegistrantRecord) -> None:
    """Cancel the registrant of a revoked link at Zoom, then have another made.

    No other is made if Zoom has shown that it only has this one. Other registrations that share the link lose it too.
    """
    zoom = await grants.client_for(job.resources, context.account_id, Label.MEDIUM, urgent=job.urgent)
    with contextlib.suppress(RegistrationOff, MeetingOver):
        context = await zoom_calls.set_status(job, zoom, context, record, "cancel")
    retry_in = timedelta() if context.should_be_registered and not context.link_blocked else None
    reason = SAME_LINK_AGAIN if record.link_blocked else LINK_REPLACED if context.should_be_registered else None
    await _save(job, context, "cancelled", reason, retry_in=retry_in, link_blocked=record.link_blocked)


async def _cancel(job: JobContext[Resources], context: RegistrantContext, record: RegistrantRecord) -> None:
    """Cancel the registrant. A member who only changed their address is then added with the new one.

    Zoom confirms a cancel without proof. To Zoom one address is one registrant, also if a guest and a member have it:
    it stays while either is going.
    """
    async with job.read_only() as tx:
        registration = await tx.session.get_one(Registration, context.registration_id)
        others_going = await address_conflicts.others_going(tx, registration, record.email)
    if not others_going:
        zoom = await grants.client_for(job.resources, context.account_id, Label.MEDIUM, urgent=job.urgent)
        # After these refusals there is no registrant left to cancel.
        with contextlib.suppress(RegistrationOff, MeetingOver):
            context = await zoom_calls.set_status(job, zoom, context, record, "cancel")
    await _save(job, context, "cancelled", None, retry_in=timedelta() if context.should_be_registered else None)


async def _handle_missing_meeting(job: JobContext[Resources], context: RegistrantContext) -> None:
    """Have the meeting read, as Zoom says that it does not exist; the registrant is synced again later."""
    async with job.complete(job.resources.clock.now() + RETRY_LATE) as tx:
        meeting = await meetings.lock(tx, context.meeting_id)
        if meeting.state in meetings.ACTIVE_STATES and not await drift.mark_stale(tx, meeting):
            await drift.mark_gone(tx, meeting)
        tx.publish(f"registration:{job.id}")
        tx.publish(events.topic(meeting.event_id))


async def _save(
    job: JobContext[Resources],
    context: RegistrantContext,
    state: str,
    reason: str | None,
    zoom_registrant: ZoomRegistrant | None = None,
    *,
    retry_in: timedelta | None = None,
    cancel_due: bool = False,
    link_blocked: bool = False,
) -> None:
    """Save the record and complete the job; it runs again after `retry_in`, if given."""
    async with job.complete(job.resources.clock.now() + retry_in if retry_in is not None else None) as tx:
        await registrant_store.save(
            tx, job, context, state, reason, zoom_registrant, cancel_due=cancel_due, link_blocked=link_blocked
        )
        await _resync_address_sharers(tx, context, state)
        if state == "unsupported" and context.protected:
            (await meetings.lock(tx, context.meeting_id)).protected = False


def user_message(error: ZoomError | RetryLater) -> str:
    """The reason to show to a member while a call has to wait."""
    if isinstance(error, TokenUnavailable | UntrustedHost):
        return ACCOUNT_NEEDS_REPAIR if error.retry == "when_reconnected" else RETRIED_AUTOMATICALLY
    if error.retry == "when_reconnected":
        return ACCOUNT_DISCONNECTED
    if isinstance(error, RetryLater) and error.retry == "at":
        return str(error)
    return DAILY_LIMIT_REACHED if isinstance(error, RateLimited) and error.daily else RETRIED_AUTOMATICALLY
