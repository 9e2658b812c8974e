"""Tables of who is coming: answers, guests and the codes that confirm a guest's address."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model
from app.core.encrypted_columns import EncryptedColumn
from app.core.identity import GUEST_PREFIX

# Values of `asked_by`: who asked for a registrant.
MEMBER = "member"
ORGANISER = "organiser"


def guest_member_id(guest_id: UUID) -> str:
    """The member id in the registration of a guest."""
    return f"{GUEST_PREFIX}{guest_id}"


def is_guest(member_id: str) -> bool:
    """Whether a member id stands for a guest, who has no account on the platform."""
    return member_id.startswith(GUEST_PREFIX)


class Registration(Model):
    """A member's answer to an event.

    A change of mind never deletes the row, so the UID of the invitation and the links in it stay valid.
    """

    __tablename__ = "registrations"
    __table_args__ = (
        UniqueConstraint("event_id", "member_id"),
        CheckConstraint("rsvp IN ('going', 'maybe', 'not_going')", name="rsvp"),
        CheckConstraint("asked_by IN ('member', 'organiser')", name="asked_by"),
        Index("ix_registrations_member_id", "member_id"),
        Index("ix_registrations_event_id_email", "event_id", text("lower(email)")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    member_id: Mapped[str] = mapped_column(Text)
    email: Mapped[str] = mapped_column(Text)
    # Whether the address identifies the member at Zoom (see `addresses`).
    email_verified: Mapped[bool] = mapped_column(server_default="false")
    # The admin who entered the address; None if a token named it.
    email_entered_by: Mapped[str | None] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    locale: Mapped[str] = mapped_column(Text, server_default="en")
    rsvp: Mapped[str] = mapped_column(Text)
    # Since when the member is on the waiting list; None if they have a place, or need none.
    waiting_since: Mapped[datetime | None]
    # Whether the member was marked as not having come; Join then refuses them.
    no_show: Mapped[bool] = mapped_column(server_default="false")
    # Who asked for the registrant since it was last added. One of the day's additions is reserved for them.
    asked_by: Mapped[str | None] = mapped_column(Text)
    # The random name in the member's own join link. It identifies whom the link is for and opens nothing.
    join_link: Mapped[str] = mapped_column(Text, unique=True)
    # The state of the last invitation that was or is being sent (`invitations.invite_state`), and the state before.
    invite: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    invite_before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # The number that every mail raises, and the time at which `invite` got it: a mail that is sent twice is the same.
    invite_sequence: Mapped[int] = mapped_column(server_default="0")
    invite_stamped_at: Mapped[datetime | None]
    # Added to `invite_sequence` in the mail. A restored database may have forgotten numbers that were sent, and
    # calendars ignore a number that is not higher.
    sequence_base: Mapped[int] = mapped_column(server_default="0")
    # When the mail server accepted or refused `invite`; None while it is unknown.
    invite_sent_at: Mapped[datetime | None]
    # When the member recently asked to have the invitation mailed again.
    invite_asked: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    # What the mail server answered if it refused `invite` for good.
    invite_error: Mapped[str | None] = mapped_column(Text)
    # The reminder time for which a reminder was last sent or is being sent.
    reminded_for: Mapped[datetime | None]
    # When the mail server accepted or refused that reminder; None while it is unknown. The refusal, if it was one.
    reminded_at: Mapped[datetime | None]
    reminder_error: Mapped[str | None] = mapped_column(Text)
    # Whether reminders of this one registration are wanted, and the link that ends them, while it is unconfirmed.
    reminders: Mapped[bool] = mapped_column(server_default="true")
    unsubscribe_link: Mapped[str | None] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Guest(Model):
    """A person without an account on the platform, invited to one event.

    The registration says whether they are coming.
    """

    __tablename__ = "guests"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    registration_id: Mapped[UUID] = mapped_column(ForeignKey("registrations.id"), unique=True)
    invited_by: Mapped[str] = mapped_column(Text)
    invited_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    # When a code last confirmed the address.
    confirmed_at: Mapped[datetime | None]
    # The spare code, which works in every browser. Each mail contains it, so it is encrypted rather than hashed.
    code: Mapped[EncryptedColumn | None]
    code_expires_at: Mapped[datetime | None]
    # When any browser recently requested codes.
    codes_asked: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")


class GuestCode(Model):
    """The code that is valid in one browser, which is known by a digest.

    It is valid until it is used, replaced, or tried too often.
    """

    __tablename__ = "guest_codes"
    __table_args__ = (UniqueConstraint("guest_id", "browser"), Index("ix_guest_codes_expires_at", "expires_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    guest_id: Mapped[UUID] = mapped_column(ForeignKey("guests.id"))
    browser: Mapped[bytes] = mapped_column(LargeBinary)
    # There are so few codes of six digits that a digest would hide nothing, so the code is encrypted.
    code: Mapped[EncryptedColumn | None]
    expires_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(server_default="0")
    # When this browser recently requested codes.
    asked: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
