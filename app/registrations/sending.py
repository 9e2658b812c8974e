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

from app import facts
from app.accounts.models import Host
from app.clients.mail import MailUnavailable
from app.core import db
from app.core.models import Community
from app.core.run import Overtaken
from app.core.work import Work
from app.events.models import Event
from app.meetings import service as meetings
from app.registrations import mailing
from app.registrations.models import Registration
from app.registrations.posting import post
from app.resources import Resources

HELD_BACK = timedelta(minutes=10)
_IS_LATEST = """
SELECT EXISTS (
    SELECT FROM registrations WHERE id = $1 AND invite_sequence = $2 AND invite = $3::jsonb AND invite_sent_at IS NULL
)
"""


class Former(NamedTuple):
    """What was known of the mail before: the state before that one, its moment, when it had left, and why it was
    refused."""

    before: mailing.State | None
    stamped_at: datetime | None
    sent_at: datetime | None
    error: str | None

    @classmethod
    def of(cls, row: Registration) -> "Former":
        """What is known as it stands."""
        return cls(row.invite_before, row.invite_stamped_at, row.invite_sent_at, row.invite_error)


@dataclass(frozen=True)
class Due:
    """A mail to be sent: the registration as it was committed for it, the state it brings, and the one before.

    `stamp` is the moment of the mail, however often it is sent. `written` tells that this run wrote the state, so no
    earlier run can have sent it. `former` is what became of the state before.
    """

    registration: Registration
    state: mailing.State
    before: mailing.State | None
    stamp: datetime
    slug: str
    host: str
    written: bool
    former: Former


async def send(work: Work[Resources]) -> None:
    """Bring one member's calendar (the key is a registration) up to date, by one mail if it is not."""
    async with work.transaction() as tx:
        due = await begin(tx, work.id)
    if not isinstance(due, Due):
        async with work.done(again_at=due):
            return
    held, to = work.resources, mailing.addresses(work.resources.settings)
    mail = mailing.letter(due.registration, due.state, due.before, to, due.slug, due.stamp, due.host)
    try:
        refusal = await post(work, mail, lambda: _is_latest(held, due))
    except Overtaken:
        async with work.done(again_at=held.clock.now()):
            return
    except MailUnavailable as error:
        if not error.maybe_sent:
            async with work.transaction() as tx:
                await take_back(tx, due)
        raise
    async with work.done() as tx:
        await finish(tx, due, refusal)


async def _is_latest(held: Resources, due: Due) -> bool:
    """Whether no later mail was made for the entry, and this one was not sent by anybody else."""
    sequence = due.registration.invite_sequence
    latest: bool = await held.db.hot.fetchval(
        _IS_LATEST, due.registration.id, sequence, orjson.dumps(due.state).decode()
    )
    return latest


async def begin(tx: db.Tx, registration_id: UUID) -> Due | datetime | None:
    """Write down the mail that is due, under a SEQUENCE of its own; None where the calendar is up to date, and where a
    change is not settled yet, when to look again.

    A mail whose fate is unknown is due again as it was, under the same SEQUENCE and so with the same Message-ID.
    """
    found = await _locked(tx, registration_id)
    if found is None:
        return None
    registration, event, slug, host = found
    held = registration.invite
    former = Former.of(registration)
    state = mailing.wanted(event, registration, tx.now)
    written = not mailing.same(state, held)
    if state is None or (not written and former.sent_at is not None):
        return None
    # Whoever would be invited now could not come in: admins are told first, and it is looked again until it is put
    # right.
    if held is None and event.on_zoom and await meetings.link_refused(tx, event.id):
        return tx.now + HELD_BACK
    if written and (settled := mailing.settles_at(event, registration, state, tx.now)):
        return settled
    if written:
        registration.invite_before, registration.invite = held, state
        registration.invite_sequence += 1 if held is not None else 0
        registration.invite_sent_at = registration.invite_error = registration.invite_stamped_at = None
    stamp = registration.invite_stamped_at = registration.invite_stamped_at or tx.now
    before = registration.invite_before
    return Due(registration, registration.invite or state, before, stamp, slug, host or "", written, former)


async def take_back(tx: db.Tx, due: Due) -> None:
    """The mail has not left: the member still holds what they held before."""
    found = await _locked(tx, due.registration.id)
    if found is None or not due.written or not _is_about(found[0], due):
        return
    registration = found[0]
    registration.invite = due.before
    registration.invite_sequence -= 1 if due.before is not None else 0
    registration.invite_before, registration.invite_stamped_at = due.former.before, due.former.stamped_at
    registration.invite_sent_at, registration.invite_error = due.former.sent_at, due.former.error


async def finish(tx: db.Tx, due: Due, refusal: str | None) -> None:
    """The mail was taken, or with `refusal` refused for good. If it is not the last one due, the next follows."""
    found = await _locked(tx, due.registration.id)
    if found is None or not _is_about(found[0], due):
        return
    registration, event, *_ = found
    registration.invite_sent_at, registration.invite_error = tx.now, refusal
    # Whether the address takes mail is now known anew.
    registration.reminder_error = None
    if not mailing.same(mailing.wanted(event, registration, tx.now), registration.invite):
        tx.record(facts.InviteAsked(registration.id, event.community_id))


def _is_about(registration: Registration, due: Due) -> bool:
    """Whether the last mail that was made is still this one."""
    return registration.invite == due.state and registration.invite_sequence == due.registration.invite_sequence


async def _locked(tx: db.Tx, registration_id: UUID) -> tuple[Registration, Event, str, str | None] | None:
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
