"""Tables of who is coming: answers, guests and the codes that confirm a guest's address."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model
from app.core.encrypted_columns import EncryptedColumn
from app.core.identity import GUEST_PREFIX

# Who may ask for a registrant.
MEMBER, ORGANISER = "member", "organiser"


def guest_member_id(guest_id: UUID) -> str:
    """What stands for the member id in the registration of a guest."""
    return f"{GUEST_PREFIX}{guest_id}"


def is_guest(member_id: str) -> bool:
    """Whether an id stands for a guest, who has no account on the platform."""
    return member_id.startswith(GUEST_PREFIX)


class Registration(Model):
    """A member's answer to an event. It is never deleted by a change of mind, so the invite's UID and links stay."""

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
    # Whether the address identifies the member at Zoom; where an admin entered it, who that was.
    email_verified: Mapped[bool] = mapped_column(server_default="false")
    email_entered_by: Mapped[str | None] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    locale: Mapped[str] = mapped_column(Text, server_default="en")
    rsvp: Mapped[str] = mapped_column(Text)
    # Since when the member waits for a place; None for those who have one.
    waiting_since: Mapped[datetime | None]
    no_show: Mapped[bool] = mapped_column(server_default="false")
    # Who has asked for the registrant since it was last added: for them one of the day's additions is kept.
    asked_by: Mapped[str | None] = mapped_column(Text)
    join_link: Mapped[str] = mapped_column(Text, unique=True)
    # The invite as last sent, or being sent: its state, the one before, and the number every mail raises, with the
    # moment it was given, so that a mail that is sent twice is the same.
    invite: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    invite_before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    invite_sequence: Mapped[int] = mapped_column(server_default="0")
    invite_stamped_at: Mapped[datetime | None]
    # What is added to it in the mail: above every number that a lost life of the database may have used.
    sequence_base: Mapped[int] = mapped_column(server_default="0")
    invite_sent_at: Mapped[datetime | None]
    # When the member asked for the invite once more, lately.
    invite_asked: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    invite_error: Mapped[str | None] = mapped_column(Text)
    # The reminder last sent, or being sent, by the moment it was due, and when it had left.
    reminded_for: Mapped[datetime | None]
    reminded_at: Mapped[datetime | None]
    reminder_error: Mapped[str | None] = mapped_column(Text)
    # What the mails of this answer alone say of reminders, and the link in them, while the answer is unconfirmed.
    reminders: Mapped[bool] = mapped_column(server_default="true")
    unsubscribe_link: Mapped[str | None] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Guest(Model):
    """A person without an account on the platform, invited to one event. They are coming as the registration says."""

    __tablename__ = "guests"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    registration_id: Mapped[UUID] = mapped_column(ForeignKey("registrations.id"), unique=True)
    invited_by: Mapped[str] = mapped_column(Text)
    invited_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    # When the address was last confirmed by a code.
    confirmed_at: Mapped[datetime | None]
    # The spare code, which counts in every browser: it is in each mail, so it is sealed and not only a digest.
    code: Mapped[EncryptedColumn | None]
    code_expires_at: Mapped[datetime | None]
    # When codes were asked for lately, by whichever browsers.
    codes_asked: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")


class GuestCode(Model):
    """The code that counts in one browser (known by a digest), until it is used, tried too often, or replaced."""

    __tablename__ = "guest_codes"
    __table_args__ = (UniqueConstraint("guest_id", "browser"), Index("ix_guest_codes_expires_at", "expires_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    guest_id: Mapped[UUID] = mapped_column(ForeignKey("guests.id"))
    browser: Mapped[bytes] = mapped_column(LargeBinary)
    # Six digits have so few forms that a digest would hide nothing, so the code is sealed.
    code: Mapped[EncryptedColumn | None]
    expires_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(server_default="0")
    # When this browser asked for codes, lately.
    asked: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
