"""Registers many people of one event with calls for up to thirty at once, if the grant allows that.

An event that gets another meeting (on another host, or on an account that was reconnected) must register everybody
anew. A single sync is requested for each person all the same, only a little later, and the batch claims the rows of
those syncs. So nobody is added twice. Whoever Zoom did not accept in the batch is synced singly, and if the batch dies,
everybody is.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import and_, or_, select

from app import commands
from app.accounts import grants, quotas
from app.accounts.models import Account
from app.clients.zoom import MAX_BATCH, AccountClient, Label, RateLimited, ZoomError, allows
from app.clients.zoom import Registrant as ZoomRegistrant
from app.core import batching, database, logs
from app.core.batching import ClaimedBatch
from app.core.job_runner import JobContext
from app.core.outbox import LeaseLost, RetryLater
from app.meetings import service as meetings
from app.registrants import attempts, daily_additions, registrant_store, sync, zoom_calls
from app.registrants.attempts import OpenAttempt
from app.registrants.models import Registrant
from app.registrants.registrant_store import RegistrantContext
from app.registrations.models import Registration
from app.resources import Resources

BATCH_SCOPE = "meeting:write:batch_registrants"
SINGLE_JOB = "registrants.sync"  # the job whose rows a batch claims
MIN_BATCH = 5  # people; fewer are registered as fast one by one
SINGLE_JOB_DELAY = timedelta(seconds=30)  # the head start of the batch before the single syncs
LEASE = timedelta(seconds=30)  # on the claimed rows; longer than a call takes
MAX_CANDIDATES = 300  # people that one run looks at
# How often batches may add one address on one day: once, so that two additions are left for single syncs.
MAX_ADDS_PER_ADDRESS = 1
log = logs.get("registrants")


async def unregistered(tx: database.Tx, event_id: UUID, limit: int | None = None) -> tuple[UUID | None, Sequence[UUID]]:
    """The account that may add them, and who is going but not registered at the event's meeting yet.

    Returns (None, []) if the event has no such meeting or its account may not add in batches. The ids of registrations
    come in the order of their creation.
    """
    meeting = await meetings.current(tx, event_id)
    if meeting is None or meeting.zoom_meeting_id is None or meeting.state not in meetings.ACTIVE_STATES:
        return None, []
    account = await tx.session.get_one(Account, meeting.account_id)
    if not meeting.protected or account.status != "connected" or not allows(account.scopes, BATCH_SCOPE):
        return None, []
    record = (Registrant.registration_id == Registration.id) & (Registrant.meeting_id == meeting.id)
    pending = and_(Registrant.state == "pending", Registrant.zoom_registrant_id.is_(None))
    not_registered = or_(Registrant.id.is_(None), and_(pending, Registrant.attempt.is_(None)))
    going = (Registration.rsvp == "going") & Registration.waiting_since.is_(None)
    found = await tx.session.scalars(
        select(Registration.id)
        .outerjoin(Registrant, record)
        .where(Registration.event_id == event_id, going, not_registered)
        .order_by(Registration.created_at, Registration.id)
        .limit(limit)
    )
    return account.id, found.all()


async def schedule_batch(tx: database.Tx, event_id: UUID) -> frozenset[UUID]:
    """Request a batch if enough people are unregistered.

    Returns the registrations whose single sync should wait for the batch.
    """
    account_id, found = await unregistered(tx, event_id)
    if len(found) < MIN_BATCH:
        return frozenset()
    tx.record(commands.AddRegistrantBatch(event_id, account_id))
    return frozenset(found)


async def add_batch(job: JobContext[Resources]) -> None:
    """Register up to thirty people of one event (the key) with one call.

    The job is due again until nobody is left, or until Zoom accepts nobody.
    """
    async with job.read_only() as tx:
        account_id, found = await unregistered(tx, job.id, MAX_CANDIDATES)
    if account_id is None or not found:
        return
    zoom = await grants.client_for(job.resources, account_id, Label.HEAVY)
    async with batching.claiming_batch(
        job, SINGLE_JOB, [str(registration_id) for registration_id in found], MAX_BATCH, LEASE
    ) as batch:
        zoom_registrants = await _add_people(job, zoom, batch)
    # If Zoom accepted nobody, the single syncs find out why.
    async with job.complete(job.resources.clock.now() if zoom_registrants else None):
        pass


async def _add_people(
    job: JobContext[Resources], zoom: AccountClient, batch: ClaimedBatch
) -> Mapping[str, ZoomRegistrant]:
    """Add the people of the claimed rows and finish those rows.

    Returns the registrants in Zoom's response by casefolded address.
    """
    people = await _open_attempts(job, batch)
    zoom_registrants: Mapping[str, ZoomRegistrant] = {}
    try:
        if people:
            bodies = [zoom_calls.registrant_body(opened.context.name, opened.context.email) for opened in people]
            response = await zoom.add_registrants(people[0].context.zoom_meeting_id, bodies)
            zoom_registrants = {zoom_registrant.email.casefold(): zoom_registrant for zoom_registrant in response}
    except (ZoomError, RetryLater, LeaseLost) as error:
        log.info("batch failed, adding one by one", event_id=job.key, people=len(people), reason=type(error).__name__)
        if not isinstance(error, LeaseLost):
            await attempts.handle_error(job, people, error)
        if isinstance(error, quotas.NOT_COUNTED):
            await _refund(job, people)
        # Other apps of the account may have used up the day's batches. Single additions have no such limit.
        if isinstance(error, LeaseLost) or (isinstance(error, RateLimited) and error.whole_queue and not error.daily):
            raise
    finally:
        await _finish(job, batch, people, zoom_registrants)
    return zoom_registrants


async def _open_attempts(job: JobContext[Resources], batch: ClaimedBatch) -> list[OpenAttempt]:
    """Open an attempt for each person of the claimed rows who can be added in one call to one meeting.

    Hosts, addresses that occur twice or are not the member's, and addresses that were added today are left out. The
    additions are counted before the call.
    """
    contexts: dict[str, RegistrantContext] = {}
    for key in sorted(batch.rows):
        context = await registrant_store.load(job.resources, UUID(key))
        if context and _is_addable(context):
            contexts.setdefault(context.email.casefold(), context)
    first = next(iter(contexts.values()), None)
    opened = []
    async with job.transaction() as tx:
        for context in contexts.values():
            same_meeting = first is not None and context.meeting_id == first.meeting_id
            if same_meeting and await quotas.consume(tx, daily_additions.quota_key(context), MAX_ADDS_PER_ADDRESS):
                try:
                    opened.append(await attempts.open_attempt(tx, context, "add"))
                except RetryLater:
                    await quotas.refund(tx, daily_additions.quota_key(context))
    return opened


async def _refund(job: JobContext[Resources], people: Sequence[OpenAttempt]) -> None:
    # Unfenced: this run counted them and Zoom did not, so nobody else can give them back, whoever has the row now.
    """Give the counted additions back."""
    async with job.unfenced() as tx:
        for quota_key in sorted(daily_additions.quota_key(opened.context) for opened in people):
            await quotas.refund(tx, quota_key)


def _is_addable(context: RegistrantContext) -> bool:
    excluded = context.is_host or context.is_denied or context.email_problem
    return context.should_be_registered and context.protected and not (excluded or context.record_at_zoom)


async def _finish(
    job: JobContext[Resources],
    batch: ClaimedBatch,
    people: Sequence[OpenAttempt],
    zoom_registrants: Mapping[str, ZoomRegistrant],
) -> None:
    """Save the links in the response and finish the claimed rows.

    Everybody else is synced singly now. Rows that asked to wait for a time of their own were not claimed.
    """
    try:
        async with job.unfenced() as tx:
            ready, pending = await _save_links(tx, job, people, zoom_registrants)
            await batching.lock_batch(tx, batch)
            await batching.finish_batch(tx, batch, ready, list(batch.rows), pending, tx.now + sync.RETRY_SOON)
    except LeaseLost:
        # Another worker syncs some of them singly by now and finds out what became of them. Release the rest.
        async with job.unfenced() as tx:
            await batching.finish_batch(tx, batch, (), list(batch.rows))
        raise


async def _save_links(
    tx: database.Tx,
    job: JobContext[Resources],
    people: Sequence[OpenAttempt],
    zoom_registrants: Mapping[str, ZoomRegistrant],
) -> tuple[list[str], list[str]]:
    """Save the registrants in Zoom's response.

    Returns the keys of the rows whose people have a link, and of those whose link is still to come.
    """
    ready = list[str]()
    pending = list[str]()
    for context in (opened.context for opened in people):
        zoom_registrant = zoom_registrants.get(context.email.casefold())
        if zoom_registrant is None:
            continue
        if not zoom_registrant.join_url:
            await registrant_store.save(tx, job, context, "pending", "Zoom has not made the link yet.", zoom_registrant)
            pending.append(str(context.registration_id))
        elif job.resources.zoom.is_link(zoom_registrant.join_url):
            await registrant_store.save(tx, job, context, "ready", None, zoom_registrant)
            ready.append(str(context.registration_id))
    return ready, pending
