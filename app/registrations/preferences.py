"""Which mails a person wants: whether they are reminded, and the link in each reminder that switches it off.

The link is a random name of 144 bits, of its own: who has a join link from somebody's calendar cannot use it here. It
stands in the mails and changes nothing but this, so it lies open in its row, as join links do. The mails of an answer
that is unconfirmed (`standing`) go where an admin said, so their link acts on that answer alone.
"""

import secrets
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.core import db
from app.events.models import Event
from app.registrations import standing
from app.registrations.models import MailPreference, Registration, is_guest


@dataclass(frozen=True)
class Found:
    """Whose link it is, the language they read, and whether they are reminded; with `registration_id`, it is that of
    one answer alone."""

    member_id: str
    locale: str
    reminders: bool
    registration_id: UUID | None = None


async def reminded(tx: db.Tx, member_id: str) -> bool:
    """Whether a member or guest wants reminders; who never said gets them."""
    row = await tx.session.get(MailPreference, member_id)
    return row is None or row.reminders


async def reminded_of(tx: db.Tx, registration: Registration, event: Event) -> bool:
    """Whether somebody wants to be reminded of one event. Of an unconfirmed answer only its own link decides."""
    if not registration.reminders:
        return False
    return not await _is_personal(tx, registration, event) or await reminded(tx, registration.member_id)


async def remind(tx: db.Tx, member_id: str, *, wanted: bool) -> None:
    """Switch the reminders of a member or guest on or off, and on for each answer that is confirmed."""
    await _ensure(tx, member_id)
    row = await tx.session.get_one(MailPreference, member_id, with_for_update=True, populate_existing=True)
    if row.reminders != wanted:
        row.reminders, row.changed_at = wanted, tx.now
        await tx.session.flush()
    if wanted:
        off = select(Registration).join(Event, Event.id == Registration.event_id)
        off = off.where(Registration.member_id == member_id, Registration.reminders.is_(False), standing.confirmed())
        for registration in await tx.session.scalars(off.order_by(Registration.id)):
            registration.reminders = True


async def remind_by(tx: db.Tx, found: Found, *, wanted: bool) -> None:
    """Switch the reminders on or off that a link is about: a person's, or those of one answer."""
    if found.registration_id is None:
        await remind(tx, found.member_id, wanted=wanted)
    else:
        (await tx.session.get_one(Registration, found.registration_id, with_for_update=True)).reminders = wanted


async def link_of(tx: db.Tx, member_id: str) -> str:
    """What the member's mails name to switch reminders off; it never changes."""
    await _ensure(tx, member_id)
    return (await tx.session.get_one(MailPreference, member_id)).unsubscribe_link


async def link_in(tx: db.Tx, registration: Registration, event: Event) -> str:
    """What a mail about one answer names to switch reminders off: the member's, once the answer is confirmed."""
    if await _is_personal(tx, registration, event):
        return await link_of(tx, registration.member_id)
    if registration.unsubscribe_link is None:
        registration.unsubscribe_link = _new_link()
    return registration.unsubscribe_link


async def by_link(tx: db.Tx, link: str) -> Found | None:
    """Whose link it is; None where it is nobody's."""
    row = await tx.session.scalar(select(MailPreference).where(MailPreference.unsubscribe_link == link))
    if row is None:
        one = await tx.session.scalar(select(Registration).where(Registration.unsubscribe_link == link))
        return Found(one.member_id, one.locale, one.reminders, one.id) if one else None
    locale = await tx.session.scalar(
        select(Registration.locale)
        .where(Registration.member_id == row.member_id)
        .order_by(Registration.updated_at.desc())
        .limit(1)
    )
    return Found(row.member_id, locale or "en", row.reminders)


async def _is_personal(tx: db.Tx, registration: Registration, event: Event) -> bool:
    """Whether an answer's mails go to the member or guest themselves, as far as anybody can know."""
    return is_guest(registration.member_id) or await standing.is_confirmed(tx, registration, event)


async def _ensure(tx: db.Tx, member_id: str) -> None:
    fresh = insert(MailPreference).values(
        member_id=member_id, reminders=True, unsubscribe_link=_new_link(), changed_at=tx.now
    )
    await tx.session.execute(fresh.on_conflict_do_nothing())


def _new_link() -> str:
    return secrets.token_urlsafe(18)
