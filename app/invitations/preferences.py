"""Which mails a person wants: whether they are reminded, and the link in each reminder that switches it off.

The link is a random name of 144 bits, of its own: who has a join link from somebody's calendar cannot use it here. It
stands in the mails and changes nothing but this, so it lies open in its row, as join links do. The mails of an answer
that is unconfirmed (`confirmation`) go where an admin said, so their link acts on that answer alone.
"""

import secrets
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.core import db
from app.events.models import Event
from app.invitations.models import MailPreference
from app.registrations import confirmation
from app.registrations.models import Registration, is_guest


@dataclass(frozen=True)
class Preference:
    """Whose link it is, the language they read, and whether they are reminded; with `registration_id`, it is that of
    one answer alone."""

    member_id: str
    locale: str
    reminders: bool
    registration_id: UUID | None = None


async def wants_reminders(tx: db.Tx, member_id: str) -> bool:
    """Whether a member or guest wants reminders; who never said gets them."""
    row = await tx.session.get(MailPreference, member_id)
    return row is None or row.reminders


async def wants_reminders_for(tx: db.Tx, registration: Registration, event: Event) -> bool:
    """Whether somebody wants to be reminded of one event. Of an unconfirmed answer only its own link decides."""
    if not registration.reminders:
        return False
    return not await _is_personal(tx, registration, event) or await wants_reminders(tx, registration.member_id)


async def set_reminders(tx: db.Tx, member_id: str, *, enabled: bool) -> None:
    """Switch the reminders of a member or guest on or off, and on for each answer that is confirmed."""
    await _ensure_preference(tx, member_id)
    row = await tx.session.get_one(MailPreference, member_id, with_for_update=True, populate_existing=True)
    if row.reminders != enabled:
        row.reminders, row.changed_at = enabled, tx.now
        await tx.session.flush()
    if enabled:
        disabled = select(Registration).join(Event, Event.id == Registration.event_id)
        disabled = disabled.where(
            Registration.member_id == member_id, Registration.reminders.is_(False), confirmation.confirmed_clause()
        )
        for registration in await tx.session.scalars(disabled.order_by(Registration.id)):
            registration.reminders = True


async def set_reminders_by_link(tx: db.Tx, preference: Preference, *, enabled: bool) -> None:
    """Switch the reminders on or off that a link is about: a person's, or those of one answer."""
    if preference.registration_id is None:
        await set_reminders(tx, preference.member_id, enabled=enabled)
    else:
        (await tx.session.get_one(Registration, preference.registration_id, with_for_update=True)).reminders = enabled


async def member_unsubscribe_link(tx: db.Tx, member_id: str) -> str:
    """What the member's mails name to switch reminders off; it never changes."""
    await _ensure_preference(tx, member_id)
    return (await tx.session.get_one(MailPreference, member_id)).unsubscribe_link


async def mail_unsubscribe_link(tx: db.Tx, registration: Registration, event: Event) -> str:
    """What a mail about one answer names to switch reminders off: the member's, once the answer is confirmed."""
    if await _is_personal(tx, registration, event):
        return await member_unsubscribe_link(tx, registration.member_id)
    if registration.unsubscribe_link is None:
        registration.unsubscribe_link = _new_link()
    return registration.unsubscribe_link


async def find_by_link(tx: db.Tx, link: str) -> Preference | None:
    """Whose link it is; None where it is nobody's."""
    row = await tx.session.scalar(select(MailPreference).where(MailPreference.unsubscribe_link == link))
    if row is None:
        registration = await tx.session.scalar(select(Registration).where(Registration.unsubscribe_link == link))
        return (
            Preference(registration.member_id, registration.locale, registration.reminders, registration.id)
            if registration
            else None
        )
    locale = await tx.session.scalar(
        select(Registration.locale)
        .where(Registration.member_id == row.member_id)
        .order_by(Registration.updated_at.desc())
        .limit(1)
    )
    return Preference(row.member_id, locale or "en", row.reminders)


async def _is_personal(tx: db.Tx, registration: Registration, event: Event) -> bool:
    """Whether an answer's mails go to the member or guest themselves, as far as anybody can know."""
    return is_guest(registration.member_id) or await confirmation.is_confirmed(tx, registration, event)


async def _ensure_preference(tx: db.Tx, member_id: str) -> None:
    statement = insert(MailPreference).values(
        member_id=member_id, reminders=True, unsubscribe_link=_new_link(), changed_at=tx.now
    )
    await tx.session.execute(statement.on_conflict_do_nothing())


def _new_link() -> str:
    return secrets.token_urlsafe(18)
