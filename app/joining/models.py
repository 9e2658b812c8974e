"""Tables of joining: clicks, how fast a member clicks, and tickets."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, CheckConstraint, DateTime, ForeignKey, Index, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model


class Click(Model):
    """One click on Join: who clicked, when, and what came of it.

    An allowed click has a row of its own. A member's refused clicks share one row for each event, route and reason.
    Clicks on events that do not exist share the nil UUID, because anybody can invent event ids.
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
        # Rows are written in order of time, so BRIN finds the old ones for cleanup and costs a click almost nothing.
        Index("ix_clicks_clicked_at", "clicked_at", postgresql_using="brin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    # The event that was asked for. No foreign key: it need not exist.
    event_id: Mapped[UUID]
    member_id: Mapped[str] = mapped_column(Text)
    # Of a row that counts refusals: the last of them.
    clicked_at: Mapped[datetime]
    # `ticket`, `redirected`, or the slug of the refusal.
    outcome: Mapped[str] = mapped_column(Text)
    # The route: `tickets.Via`.
    via: Mapped[str] = mapped_column(Text)
    # How many refusals the row counts; None for an allowed click.
    times: Mapped[int | None]


class ClickRate(Model):
    """When a member last clicked, oldest first.

    The array holds no more moments than a minute allows clicks, so the row's size is bounded.
    """

    __tablename__ = "click_rates"

    member_id: Mapped[str] = mapped_column(Text, primary_key=True)
    clicked: Mapped[list[datetime]] = mapped_column(ARRAY(DateTime(timezone=True)))


class Ticket(Model):
    """A single-use, short-lived ticket. Only its digest is stored, so a copy of the database opens nothing."""

    __tablename__ = "tickets"
    __table_args__ = (
        CheckConstraint("purpose IN ('join', 'start')", name="purpose"),
        Index("ix_tickets_expires_at", "expires_at", postgresql_using="brin"),
    )

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    member_id: Mapped[str] = mapped_column(Text)
    # `join` leads to the member's Zoom link, `start` to the host's start URL.
    purpose: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
