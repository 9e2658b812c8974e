"""Tables of the door: clicks, how fast a member clicks, and the passes minted for clicks."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, CheckConstraint, DateTime, ForeignKey, Index, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model


class Click(Model):
    """Somebody came to the door: who, when, and what they were told.

    Who was let in has a row for each click. Refusals of a member share one row for each event and reason: `times`
    counts them, and `clicked_at` is the last one. `event_id` is what they asked for; events that nobody knows share the
    nil UUID.
    """

    __tablename__ = "clicks"
    __table_args__ = (
        Index(
            "uq_clicks_refusal",
            "member_id",
            "event_id",
            "via",
            "outcome",
            unique=True,
            postgresql_where=text("times IS NOT NULL"),
        ),
        Index("ix_clicks_redirected", "event_id", "member_id", postgresql_where=text("outcome = 'redirected'")),
        # Rows come in the order of time, so the sweep finds the old ones by block, and a click pays next to nothing.
        Index("ix_clicks_clicked_at", "clicked_at", postgresql_using="brin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    event_id: Mapped[UUID]
    member_id: Mapped[str] = mapped_column(Text)
    clicked_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(Text)
    via: Mapped[str] = mapped_column(Text)
    times: Mapped[int | None]


class ClickRate(Model):
    """When a member clicked last, the oldest first: as many moments as a minute allows, and so one bounded row."""

    __tablename__ = "click_rates"

    member_id: Mapped[str] = mapped_column(Text, primary_key=True)
    clicked: Mapped[list[datetime]] = mapped_column(ARRAY(DateTime(timezone=True)))


class Ticket(Model):
    """A single-use, short-lived pass; only its digest is kept."""

    __tablename__ = "tickets"
    __table_args__ = (
        CheckConstraint("purpose IN ('join', 'start')", name="purpose"),
        Index("ix_tickets_expires_at", "expires_at", postgresql_using="brin"),
    )

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    member_id: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
