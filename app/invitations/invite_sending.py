"""Sends the invitation mail that brings a member's calendar to the state it should have.

`registration.invite` is the state that the member's calendar may have by now. It is written before the mail is sent,
and rolled back only if the mail has certainly not been sent. So a CANCEL goes to everybody who may have an invite, and
to nobody else.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import select

from app import commands
from app.accounts.models import Host
from app.clients.mail import MailUnavailable
from app.core import database
from app.core.job_context import Superseded
from app.core.job_runner import JobContext
from app.core.models import Community
from app.events.models import Event
from app.invitations import invite_state
from app.invitations.mail_sending import send_mail
from app.meetings import service as meetings
from app.registrations.models import Registration
from app.resources import Resources

# How soon to look again whether an organiser has replaced a meeting whose link is not Zoom's.
LINK_REFUSED_RETRY = timedelta(minutes=10)
_IS_LATEST = """
SELECT EXISTS (
    SELECT FROM registrations WHERE id = $1 AND invite_sequence = $2 AND invite = $3::jsonb AND invite_sent_at IS NULL
)
"""


class PreviousSend(NamedTuple):
    """What was known of the previous mail: the state before it, its stamp, when it was sent, its refusal."""

    previous_invite: invite_state.InviteState | None
    stamped_at: datetime | None
    sent_at: datetime | None
    error: str | None

    @classmethod
    def from_registration(cls, row: Registration) -> "PreviousSend":
        """What the registration says now."""
        return cls(row.invite_before, row.invite_stamped_at, row.invite_sent_at, row.invite_error)


@dataclass(frozen=True)
class PendingSend:
    """A mail to be sent: the registration as it was committed for it, the new state, and the state before.

    `stamp` is the time in the mail, the same however often it is sent. `is_new` says that this run wrote the state, so
    no earlier run can have sent it. `previous_send` is what became of the state before.
    """

    registration: Registration
    state: invite_state.InviteState
    previous: invite_state.InviteState | None
    stamp: datetime
    slug: str
    host: str
    is_new: bool
    previous_send: PreviousSend


async def send(job: JobContext[Resources]) -> None:
    """Bring one member's calendar (the key is a registration) up to date, with one mail if it is not."""
    async with job.transaction() as tx:
        pending = await prepare(tx, job.id)
    if not isinstance(pending, PendingSend):
        async with job.complete(repeat_at=pending):
            return
    resources = job.resources
    mail_settings = invite_state.mail_settings_from(job.resources.settings)
    mail = invite_state.build_mail(
        pending.registration, pending.state, pending.previous, mail_settings, pending.slug, pending.stamp, pending.host
    )
    try:
        refusal = await send_mail(job, mail, lambda: _is_latest(resources, pending))
    except Superseded:
        async with job.complete(repeat_at=resources.clock.now()):
            return
    except MailUnavailable as error:
        if not error.maybe_sent:
            async with job.transaction() as tx:
                await roll_back(tx, pending)
        raise
    async with job.complete() as tx:
        await record_result(tx, pending, refusal)


async def _is_latest(resources: Resources, pending: PendingSend) -> bool:
    """Whether this is still the latest mail for the entry, and no other run has sent it."""
    sequence = pending.registration.invite_sequence
    latest: bool = await resources.db.pool.fetchval(
        _IS_LATEST, pending.registration.id, sequence, orjson.dumps(pending.state).decode()
    )
    return latest


async def prepare(tx: database.Tx, registration_id: UUID) -> PendingSend | datetime | None:
    """Store the mail that is due, under a SEQUENCE of its own.

    Returns None if the calendar is up to date, or when to look again if the event is still being changed. A mail with
    an unknown outcome is due again unchanged: with the same SEQUENCE and so the same Message-ID.
    """
    row = await _lock(tx, registration_id)
    if row is None:
        return None
    registration, event, slug, host = row
    current = registration.invite
    previous_send = PreviousSend.from_registration(registration)
    state = invite_state.desired_invite(event, registration, tx.now)
    is_new = not invite_state.is_equivalent(state, current)
    if state is None or (not is_new and previous_send.sent_at is not None):
        return None
    # A member invited now could not come in. The admins see the refused link first; the job looks again until they
    # have corrected it.
    if current is None and event.on_zoom and await meetings.link_refused(tx, event.id):
        return tx.now + LINK_REFUSED_RETRY
    if is_new and (not_before := invite_state.send_at(event, registration, state, tx.now)):
        return not_before
    if is_new:
        registration.invite_before = current
        registration.invite = state
        registration.invite_sequence += 1 if current is not None else 0
        registration.invite_sent_at = registration.invite_error = registration.invite_stamped_at = None
    stamp = registration.invite_stamped_at = registration.invite_stamped_at or tx.now
    previous = registration.invite_before
    return PendingSend(
        registration, registration.invite or state, previous, stamp, slug, host or "", is_new, previous_send
    )


async def roll_back(tx: database.Tx, pending: PendingSend) -> None:
    """Restore what the registration said before, as the mail has not been sent."""
    row = await _lock(tx, pending.registration.id)
    if row is None or not pending.is_new or not _is_current(row[0], pending):
        return
    registration = row[0]
    registration.invite = pending.previous
    registration.invite_sequence -= 1 if pending.previous is not None else 0
    registration.invite_before = pending.previous_send.previous_invite
    registration.invite_stamped_at = pending.previous_send.stamped_at
    registration.invite_sent_at = pending.previous_send.sent_at
    registration.invite_error = pending.previous_send.error


async def record_result(tx: database.Tx, pending: PendingSend, refusal: str | None) -> None:
    """Store that the server accepted the mail, or refused it for good (`refusal`).

    Request the next if one is due.
    """
    row = await _lock(tx, pending.registration.id)
    if row is None or not _is_current(row[0], pending):
        return
    registration, event, *_ = row
    registration.invite_sent_at = tx.now
    registration.invite_error = refusal
    # The server has just answered for this address, so the refusal of an earlier reminder counts no more.
    registration.reminder_error = None
    if not invite_state.is_equivalent(invite_state.desired_invite(event, registration, tx.now), registration.invite):
        tx.record(commands.SendInvite(registration.id, event.community_id))


def _is_current(registration: Registration, pending: PendingSend) -> bool:
    """Whether this is still the last mail that was prepared."""
    return registration.invite == pending.state and registration.invite_sequence == pending.registration.invite_sequence


async def _lock(tx: database.Tx, registration_id: UUID) -> tuple[Registration, Event, str, str | None] | None:
    """The registration, locked, with its event, the community's slug and the host's name.

    One statement loads all of it, because every invitation needs it.
    """
    found = await tx.session.execute(
        select(Registration, Event, Community.slug, Host.name)
        .join(Event, Event.id == Registration.event_id)
        .join(Community, Community.id == Event.community_id)
        .outerjoin(Host, Host.id == Event.host_id)
        .where(Registration.id == registration_id)
        .with_for_update(of=Registration, key_share=True)
        .execution_options(populate_existing=True)
    )
    return found.one_or_none()
