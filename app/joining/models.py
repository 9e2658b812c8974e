"""Tables of the door: every click, and the passes minted for them."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model


class Click(Model):
    """Somebody came to the door: who, when, and what they were told. `event_id` is what they asked for."""

    __tablename__ = "clicks"
    __table_args__ = (Index("ix_clicks_member_id_clicked_at", "member_id", "clicked_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    event_id: Mapped[UUID]
    member_id: Mapped[str] = mapped_column(Text)
    clicked_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(Text)
    via: Mapped[str] = mapped_column(Text)


class Ticket(Model):
    """A single-use, short-lived pass; only its digest is kept."""

    __tablename__ = "tickets"
    __table_args__ = (CheckConstraint("purpose IN ('join', 'start')", name="purpose"),)

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    member_id: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
