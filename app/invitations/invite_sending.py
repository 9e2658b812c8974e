"""What our row says of a member's invite before, during and after a mail: the calendar state it is meant to reach.

`registration.invite` is what the member may hold by now. It is written before the mail leaves, and taken back only
where the mail certainly has not left, so a CANCEL goes to everybody who may hold an invite and to nobody else.
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
from app.core import db
from app.core.job_context import Superseded
from app.core.job_runner import JobContext
from app.core.models import Community
from app.events.models import Event
from app.invitations import invite_state
from app.invitations.mail_sending import send_mail
from app.meetings import service as meetings
from app.registrations.models import Registration
from app.resources import Resources

LINK_REFUSED_RETRY = timedelta(minutes=10)
_IS_LATEST = """
SELECT EXISTS (
    SELECT FROM registrations WHERE id = $1 AND invite_sequence = $2 AND invite = $3::jsonb AND invite_sent_at IS NULL
)
"""


class PreviousSend(NamedTuple):
    """What was known of the mail before: the state before that one, its moment, when it had left, and why it was
    refused."""

    previous_invite: invite_state.InviteState | None
    stamped_at: datetime | None
    sent_at: datetime | None
    error: str | None

    @classmethod
    def from_registration(cls, row: Registration) -> "PreviousSend":
        """What is known as it stands."""
        return cls(row.invite_before, row.invite_stamped_at, row.invite_sent_at, row.invite_error)


@dataclass(frozen=True)
class PendingSend:
    """A mail to be sent: the registration as it was committed for it, the state it brings, and the one before.

    `stamp` is the moment of the mail, however often it is sent. `is_new` tells that this run wrote the state, so no
    earlier run can have sent it. `previous_send` is what became of the state before.
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
    """Bring one member's calendar (the key is a registration) up to date, by one mail if it is not."""
    async with job.transaction() as tx:
        pending = await prepare(tx, job.id)
    if not isinstance(pending, PendingSend):
        async with job.complete(repeat_at=pending):
            return
    resources, mail_settings = job.resources, invite_state.mail_settings_from(job.resources.settings)
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
    """Whether no later mail was made for the entry, and this one was not sent by anybody else."""
    sequence = pending.registration.invite_sequence
    latest: bool = await resources.db.pool.fetchval(
        _IS_LATEST, pending.registration.id, sequence, orjson.dumps(pending.state).decode()
    )
    return latest


async def prepare(tx: db.Tx, registration_id: UUID) -> PendingSend | datetime | None:
    """Write down the mail that is due, under a SEQUENCE of its own; None where the calendar is up to date, and where a
    change is not settled yet, when to look again.

    A mail whose fate is unknown is due again as it was, under the same SEQUENCE and so with the same Message-ID.
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
    # Whoever would be invited now could not come in: admins are told first, and it is looked again until it is put
    # right.
    if current is None and event.on_zoom and await meetings.link_refused(tx, event.id):
        return tx.now + LINK_REFUSED_RETRY
    if is_new and (not_before := invite_state.send_at(event, registration, state, tx.now)):
        return not_before
    if is_new:
        registration.invite_before, registration.invite = current, state
        registration.invite_sequence += 1 if current is not None else 0
        registration.invite_sent_at = registration.invite_error = registration.invite_stamped_at = None
    stamp = registration.invite_stamped_at = registration.invite_stamped_at or tx.now
    previous = registration.invite_before
    return PendingSend(
        registration, registration.invite or state, previous, stamp, slug, host or "", is_new, previous_send
    )


async def roll_back(tx: db.Tx, pending: PendingSend) -> None:
    """The mail has not left: the member still holds what they held before."""
    row = await _lock(tx, pending.registration.id)
    if row is None or not pending.is_new or not _is_current(row[0], pending):
        return
    registration = row[0]
    registration.invite = pending.previous
    registration.invite_sequence -= 1 if pending.previous is not None else 0
    registration.invite_before, registration.invite_stamped_at = (
        pending.previous_send.previous_invite,
        pending.previous_send.stamped_at,
    )
    registration.invite_sent_at, registration.invite_error = pending.previous_send.sent_at, pending.previous_send.error


async def record_result(tx: db.Tx, pending: PendingSend, refusal: str | None) -> None:
    """The mail was taken, or with `refusal` refused for good. If it is not the last one due, the next follows."""
    row = await _lock(tx, pending.registration.id)
    if row is None or not _is_current(row[0], pending):
        return
    registration, event, *_ = row
    registration.invite_sent_at, registration.invite_error = tx.now, refusal
    # Whether the address takes mail is now known anew.
    registration.reminder_error = None
    if not invite_state.is_equivalent(invite_state.desired_invite(event, registration, tx.now), registration.invite):
        tx.record(commands.SendInvite(registration.id, event.community_id))


def _is_current(registration: Registration, pending: PendingSend) -> bool:
    """Whether the last mail that was made is still this one."""
    return registration.invite == pending.state and registration.invite_sequence == pending.registration.invite_sequence


async def _lock(tx: db.Tx, registration_id: UUID) -> tuple[Registration, Event, str, str | None] | None:
    """The registration, locked, with its event, the slug of their community and the name of the host: one trip, as
    every invite needs it."""
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
