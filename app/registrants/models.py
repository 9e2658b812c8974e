"""Tables of what Zoom knows of a registration: its registrant at one meeting, and links that were revoked."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model
from app.core.encrypted_columns import EncryptedColumn


class Registrant(Model):
    """Zoom's record of a registration at one meeting."""

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
    zoom_registrant_id: Mapped[str | None] = mapped_column(Text)
    # Ids it had before: who came in by one of their links is the same member.
    former_ids: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    email: Mapped[str] = mapped_column(Text)
    # The name it was added with, which Zoom shows ever after.
    name: Mapped[str | None] = mapped_column(Text)
    join_url: Mapped[EncryptedColumn | None]
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    # The link was taken back, and Zoom has yet to be told.
    cancel_due: Mapped[bool] = mapped_column(server_default="false")
    # Zoom has no other link for this address than one that was taken back, so none is asked for by itself.
    link_blocked: Mapped[bool] = mapped_column(server_default="false")
    # What was attempted at Zoom and is not known to be done or not done; until when Zoom may still be at it.
    attempt: Mapped[str | None] = mapped_column(Text)
    attempted_at: Mapped[datetime | None]
    attempt_ends_at: Mapped[datetime | None]
    # When Zoom was last asked to cancel the registrant: a cancel it tells of then is that one.
    cancel_sent_at: Mapped[datetime | None]
    # When it goes on by itself, where that takes long.
    retry_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    # Of what moment the last is that Zoom told of it: what comes later and is older means nothing any more.
    last_notified_at: Mapped[datetime | None]
    # Since when Zoom may have it otherwise than we know, as the database was restored; None where nothing says so.
    stale_since: Mapped[datetime | None]


class RevokedLink(Model):
    """A personal link that was taken back, known by a digest, so that it is noticed if Zoom hands it out again."""

    __tablename__ = "revoked_links"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    registrant_id: Mapped[UUID] = mapped_column(ForeignKey("registrants.id"), index=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    revoked_by: Mapped[str] = mapped_column(Text)
    revoked_at: Mapped[datetime]
