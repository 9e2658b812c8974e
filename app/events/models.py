"""Tables of spaces, community settings and events, and the rule for the state of an event."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, CheckConstraint, ColumnElement, ForeignKey, Index, Text, Uuid, case, literal, or_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model
from app.core.models import Community

# This long after its scheduled end, an event counts as ended even if no end was reported. From then on the end is
# final: the host can no longer start the meeting again. 15 minutes are a judgement: meetings overrun a little, and
# reports come late.
END_GRACE = timedelta(minutes=15)


class Space(Model):
    """A part of a community that holds events, with the meeting settings they share."""

    __tablename__ = "spaces"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    community_id: Mapped[str] = mapped_column(ForeignKey(Community.id), index=True)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, server_default="")
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    created_at: Mapped[datetime]


class CommunitySettings(Model):
    """The settings that the admins of a community chose. `events.settings` has the defaults."""

    __tablename__ = "community_settings"

    community_id: Mapped[str] = mapped_column(ForeignKey(Community.id), primary_key=True)
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    # When the reminder times last changed. A reminder that was due before this moment is not sent late.
    reminders_changed_at: Mapped[datetime | None]


class Event(Model):
    """A community event, a coaching booking or an occurrence of a series."""

    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint("kind IN ('community_event', 'coaching_booking', 'series_occurrence')", name="kind"),
        CheckConstraint("delivery_mode IN ('native', 'zoom')", name="delivery_mode"),
        CheckConstraint("ends_at > starts_at", name="order"),
        Index("ix_events_community_id_starts_at", "community_id", "starts_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    community_id: Mapped[str] = mapped_column(ForeignKey(Community.id))
    space_id: Mapped[UUID | None] = mapped_column(ForeignKey("spaces.id"))
    kind: Mapped[str] = mapped_column(Text)
    series_id: Mapped[UUID | None]
    coach_id: Mapped[str | None] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, server_default="")
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    timezone: Mapped[str] = mapped_column(Text)
    is_virtual: Mapped[bool]
    # None if the event is not virtual.
    delivery_mode: Mapped[str | None] = mapped_column(Text)
    host_id: Mapped[UUID | None] = mapped_column(ForeignKey("hosts.id"))
    alternative_hosts: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")
    capacity: Mapped[int | None]
    # Counts edits; it is the ETag. Going live is no edit.
    version: Mapped[int] = mapped_column(server_default="1")
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    cancelled_at: Mapped[datetime | None]
    # A deleted event is cancelled, too, and no answer shows it.
    deleted_at: Mapped[datetime | None]
    # Derived from the meeting's instances: since when one is open, and when the last one that was no rehearsal ended.
    live_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    # How many runs of the meeting are over; rehearsals do not count.
    ended_runs: Mapped[int] = mapped_column(server_default="0")
    # The start for which people were notified that no host had come, and how many people were waiting then.
    host_missed_at: Mapped[datetime | None]
    host_missed_by: Mapped[int | None]

    @property
    def on_zoom(self) -> bool:
        """Return whether this event needs a Zoom meeting."""
        return (
            self.is_virtual and self.delivery_mode == "zoom" and self.cancelled_at is None and self.deleted_at is None
        )

    def status(self, now: datetime) -> str:
        """Return the state at `now`: `scheduled`, `live`, `ended` or `cancelled`."""
        return status(
            cancelled=self.cancelled_at is not None,
            live_at=self.live_at,
            ended_at=self.ended_at,
            ends_at=self.ends_at,
            now=now,
        )


def status(
    *, cancelled: bool, live_at: datetime | None, ended_at: datetime | None, ends_at: datetime, now: datetime
) -> str:
    """Return the state of an event: live overrides the schedule, cancelled overrides everything."""
    if cancelled:
        return "cancelled"
    if live_at is not None:
        return "live"
    if ended_at is not None or now >= ends_at + END_GRACE:
        return "ended"
    return "scheduled"


def status_sql(now: datetime) -> ColumnElement[str]:
    """Return `status` as an SQL expression, by which a query can filter events at `now`."""
    return case(
        (Event.cancelled_at.is_not(None), literal("cancelled")),
        (Event.live_at.is_not(None), literal("live")),
        (or_(Event.ended_at.is_not(None), Event.ends_at <= now - END_GRACE), literal("ended")),
        else_=literal("scheduled"),
    )
