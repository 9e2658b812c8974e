"""Whether a person wants reminders, and the link in each reminder that ends them.

The link is a random name of 144 bits and differs from the join link, so somebody with a join link from another person's
calendar cannot use it here. It is printed in mails and changes nothing else, so the row stores it in the clear, as it
does join links. The mails of an unconfirmed registration (`registrations.confirmation`) go to an address that an admin
entered, so their link acts on that registration alone.
"""

import secrets
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.core import database
from app.events.models import Event
from app.invitations.models import MailPreference
from app.registrations import confirmation
from app.registrations.models import Registration, is_guest


@dataclass(frozen=True)
class Preference:
    """Whose link it is, the language they read, and whether they get reminders.

    With `registration_id` the link acts on that registration alone.
    """

    member_id: str
    locale: str
    reminders: bool
    registration_id: UUID | None = None


async def wants_reminders(tx: database.Tx, member_id: str) -> bool:
    """Whether a member or guest wants reminders. By default they do."""
    row = await tx.session.get(MailPreference, member_id)
    return row is None or row.reminders


async def wants_reminders_for(tx: database.Tx, registration: Registration, event: Event) -> bool:
    """Whether a person wants to be reminded of one event.

    For an unconfirmed registration only its own link decides.
    """
    if not registration.reminders:
        return False
    return not await _is_personal(tx, registration, event) or await wants_reminders(tx, registration.member_id)


async def set_reminders(tx: database.Tx, member_id: str, *, enabled: bool) -> None:
    """Switch the reminders of a member or guest on or off.

    Switching on also applies to each of their confirmed registrations that had switched off its own.
    """
    await _ensure_preference(tx, member_id)
    row = await tx.session.get_one(MailPreference, member_id, with_for_update=True, populate_existing=True)
    if row.reminders != enabled:
        row.reminders = enabled
        row.changed_at = tx.now
        await tx.session.flush()
    if enabled:
        disabled = select(Registration).join(Event, Event.id == Registration.event_id)
        disabled = disabled.where(
            Registration.member_id == member_id, Registration.reminders.is_(False), confirmation.confirmed_clause()
        )
        for registration in await tx.session.scalars(disabled.order_by(Registration.id)):
            registration.reminders = True


async def set_reminders_by_link(tx: database.Tx, preference: Preference, *, enabled: bool) -> None:
    """Switch on or off what a link acts on: the reminders of a person, or of one registration."""
    if preference.registration_id is None:
        await set_reminders(tx, preference.member_id, enabled=enabled)
    else:
        (await tx.session.get_one(Registration, preference.registration_id, with_for_update=True)).reminders = enabled


async def member_unsubscribe_link(tx: database.Tx, member_id: str) -> str:
    """The name in the link of the member's mails that ends reminders; it never changes."""
    await _ensure_preference(tx, member_id)
    return (await tx.session.get_one(MailPreference, member_id)).unsubscribe_link


async def mail_unsubscribe_link(tx: database.Tx, registration: Registration, event: Event) -> str:
    """The name in the link of a mail about one registration: the member's own link once it is confirmed."""
    if await _is_personal(tx, registration, event):
        return await member_unsubscribe_link(tx, registration.member_id)
    if registration.unsubscribe_link is None:
        registration.unsubscribe_link = _new_link()
    return registration.unsubscribe_link


async def find_by_link(tx: database.Tx, link: str) -> Preference | None:
    """The preference that a link changes; None if there is no such link."""
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


async def _is_personal(tx: database.Tx, registration: Registration, event: Event) -> bool:
    """Whether the mails of a registration reach the member or guest themselves, as far as can be known."""
    return is_guest(registration.member_id) or await confirmation.is_confirmed(tx, registration, event)


async def _ensure_preference(tx: database.Tx, member_id: str) -> None:
    """Insert the default preference of a member or guest who has none."""
    statement = insert(MailPreference).values(
        member_id=member_id, reminders=True, unsubscribe_link=_new_link(), changed_at=tx.now
    )
    await tx.session.execute(statement.on_conflict_do_nothing())


def _new_link() -> str:
    return secrets.token_urlsafe(18)
