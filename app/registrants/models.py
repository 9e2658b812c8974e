"""Tables of registrants (a registration as it stands at one Zoom meeting) and of revoked personal links."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model
from app.core.encrypted_columns import EncryptedColumn


class Registrant(Model):
    """Zoom's record of one registration at one meeting."""

    __tablename__ = "registrants"
    __table_args__ = (
        UniqueConstraint("registration_id", "meeting_id"),
        CheckConstraint(
            "state IN ('pending', 'ready', 'cancelled', 'denied', 'unsupported', 'host', 'failed')", name="state"
        ),
        CheckConstraint("attempt IN ('add', 'approve', 'cancel')", name="attempt"),
        Index("ix_registrants_known", "meeting_id", "zoom_registrant_id"),
        Index(
            "ix_registrants_being_cancelled",
            "meeting_id",
            text("lower(email)"),
            postgresql_where=text("attempt = 'cancel'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    registration_id: Mapped[UUID] = mapped_column(ForeignKey("registrations.id"))
    meeting_id: Mapped[UUID] = mapped_column(ForeignKey("meetings.id"))
    # Zoom's id; None while none is known.
    zoom_registrant_id: Mapped[str | None] = mapped_column(Text)
    # Earlier ids. A participant who came in with one of their links is the same member.
    former_ids: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    # The address it was added with, which may no longer be the registration's.
    email: Mapped[str] = mapped_column(Text)
    # The name it was added with. Zoom renames no registrant and shows this name ever after.
    name: Mapped[str | None] = mapped_column(Text)
    # The personal link; only while the state is `ready`, or an attempt is open.
    join_url: Mapped[EncryptedColumn | None]
    # pending: we do not know that Zoom let them in yet. ready: the link is there. cancelled: we took them off, or they
    # were never added. denied: a host took them off inside Zoom. unsupported: the meeting has no registration. host:
    # Zoom takes no host as a registrant. failed: Zoom refused them, or the address is not theirs at Zoom.
    state: Mapped[str] = mapped_column(Text)
    # One sentence for the member and the organisers of why the state is not `ready`.
    reason: Mapped[str | None] = mapped_column(Text)
    # The link was revoked, and the registrant is still to be cancelled at Zoom.
    cancel_due: Mapped[bool] = mapped_column(server_default="false")
    # For this address Zoom only has a link that was revoked, so no job asks for one until somebody requests it.
    link_blocked: Mapped[bool] = mapped_column(server_default="false")
    # The attempt marker: a call to Zoom that was made, or was about to be, and whose outcome is unknown.
    attempt: Mapped[str | None] = mapped_column(Text)
    attempted_at: Mapped[datetime | None]
    # Until then Zoom may still carry out that call.
    attempt_ends_at: Mapped[datetime | None]
    # When we last asked Zoom to cancel the registrant. A cancel that Zoom reports soon after is our own.
    cancel_sent_at: Mapped[datetime | None]
    # When the sync goes on by itself, if it waits long.
    retry_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    # The time of the latest notification about the registrant. An older one that arrives later is ignored.
    last_notified_at: Mapped[datetime | None]
    # Since when our copy may be stale because the database was restored; None if nothing suggests it.
    stale_since: Mapped[datetime | None]


class RevokedLink(Model):
    """A personal link that was revoked, known by a digest, so that we notice if Zoom issues it again."""

    __tablename__ = "revoked_links"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    registrant_id: Mapped[UUID] = mapped_column(ForeignKey("registrants.id"), index=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    revoked_by: Mapped[str] = mapped_column(Text)
    revoked_at: Mapped[datetime]
