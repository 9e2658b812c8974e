"""Which mails a person wants: whether they are reminded, and the link in each reminder that switches it off.

The link is a random name of 144 bits, of its own: who has a join link from somebody's calendar cannot use it here. It
stands in the mails and changes nothing but this, so it lies open in its row, as join links do.
"""

import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.core import db
from app.registrations.models import MailPreference, Registration


@dataclass(frozen=True)
class Found:
    """Whose link it is, the language they read, and whether they are reminded."""

    member_id: str
    locale: str
    reminders: bool


async def reminded(tx: db.Tx, member_id: str) -> bool:
    """Whether a member or guest wants reminders; who never said gets them."""
    row = await tx.session.get(MailPreference, member_id)
    return row is None or row.reminders


async def remind(tx: db.Tx, member_id: str, *, wanted: bool) -> None:
    """Switch the reminders of a member or guest on or off."""
    await _ensure(tx, member_id)
    row = await tx.session.get_one(MailPreference, member_id, with_for_update=True, populate_existing=True)
    if row.reminders != wanted:
        row.reminders, row.changed_at = wanted, tx.now
        await tx.session.flush()


async def link_of(tx: db.Tx, member_id: str) -> str:
    """What the member's mails name to switch reminders off; it never changes."""
    await _ensure(tx, member_id)
    return (await tx.session.get_one(MailPreference, member_id)).unsubscribe_link


async def by_link(tx: db.Tx, link: str) -> Found | None:
    """Whose link it is; None where it is nobody's."""
    row = await tx.session.scalar(select(MailPreference).where(MailPreference.unsubscribe_link == link))
    if row is None:
        return None
    locale = await tx.session.scalar(
        select(Registration.locale)
        .where(Registration.member_id == row.member_id)
        .order_by(Registration.updated_at.desc())
        .limit(1)
    )
    return Found(row.member_id, locale or "en", row.reminders)


async def _ensure(tx: db.Tx, member_id: str) -> None:
    link = secrets.token_urlsafe(18)
    fresh = insert(MailPreference).values(member_id=member_id, reminders=True, unsubscribe_link=link, changed_at=tx.now)
    await tx.session.execute(fresh.on_conflict_do_nothing())
