"""Tables of the Zoom meetings that serve events, and of their actual holdings."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Text,
    UniqueConstraint,
    or_,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model
from app.core.encrypted_columns import EncryptedColumn
from app.meetings.instance_rules import InstanceTimes, runs

_TIMESTAMPS = ARRAY(DateTime(timezone=True))
STATES = (
    "pending",
    "scheduled",
    "updating",
    "failed",
    "unknown",
    "deleted_at_zoom",
    "unavailable",
    "retiring",
    "retired",
)


class Meeting(Model):
    """The Zoom meeting of an event: what we asked for, what Zoom last told us.

    An event has at most one that serves it; others are `retiring` (to be deleted at Zoom) or `retired` (history).
    """

    __tablename__ = "meetings"
    __table_args__ = (
        CheckConstraint(f"state IN {STATES}", name="state"),
        Index(
            "uq_meetings_event_id",
            "event_id",
            unique=True,
            postgresql_where=text("state NOT IN ('retiring', 'retired')"),
        ),
        Index("ix_meetings_zoom_meeting_id", "zoom_meeting_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"), index=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), index=True)
    host_id: Mapped[UUID] = mapped_column(ForeignKey("hosts.id"))
    state: Mapped[str] = mapped_column(Text)
    zoom_meeting_id: Mapped[int | None] = mapped_column(BigInteger)
    # The nonce at the head of the agenda by which a meeting whose creation got no answer is recognised.
    marker: Mapped[str] = mapped_column(Text)
    attempted_at: Mapped[datetime | None]
    # The plan Zoom last accepted, and what it answered when it was read back; both without what is unknown since a
    # change got no answer. Those changes, `{at, body}` each: Zoom may have made one, or make it yet.
    last_sent: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    observed: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    unanswered: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    # Optional fields Zoom refused, by name, with the value it did not take: not asked for again with that value.
    left_out: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    join_url: Mapped[EncryptedColumn | None]
    protected: Mapped[bool] = mapped_column(server_default="true")
    last_error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # A second creation leaves a possible orphan: the markers we gave up on.
    orphan_markers: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    created_at: Mapped[datetime]
    # When Zoom was last changed or read.
    synced_at: Mapped[datetime | None]
    # The version of the event Zoom was last brought in line with: a save after it undoes what was changed inside Zoom.
    synced_version: Mapped[int | None]
    # Since when Zoom may have it otherwise than we know, so that it is read again; None where nothing says so.
    stale_since: Mapped[datetime | None]
    # When Zoom last told of a change that may not be read.
    last_notified_at: Mapped[datetime | None]
    # When it was last decided to ask Zoom whether it was held, of which nothing had been told.
    outcome_polled_at: Mapped[datetime | None]


class Instance(Model):
    """One actual holding of a meeting, told apart by its UUID; without times where only its recording was heard of."""

    __tablename__ = "instances"
    __table_args__ = (
        UniqueConstraint("meeting_id", "uuid"),
        # For the sweep over those whose recording was not told of.
        Index("ix_instances_ended_at", "ended_at", postgresql_where=text("recording_available IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    meeting_id: Mapped[UUID] = mapped_column(ForeignKey("meetings.id"), index=True)
    uuid: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    # Every start and every end Zoom told of: an instance that ended may be opened again. `started_at` and `ended_at`
    # follow from these, and from what was found out.
    starts: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    ends: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    # Whether the end was not told, and is known only as one by which it was over.
    end_inferred: Mapped[bool] = mapped_column(server_default="false")
    # Whether Zoom holds a recording of it, None while Zoom has said nothing; the moment of its last word counts.
    recording_available: Mapped[bool | None]
    recording_reported_at: Mapped[datetime | None]
    # When it was last decided to ask Zoom for one.
    recording_polled_at: Mapped[datetime | None]

    @property
    def runs(self) -> list[InstanceTimes]:
        """Every time it was open, in order; one that ended may be opened again."""
        return runs(self.starts, self.ends, earliest_start=self.started_at, inferred_end=self.inferred_end)

    @property
    def inferred_end(self) -> datetime | None:
        """The end that was found out, where none was told."""
        return self.ended_at if self.end_inferred else None


# What Zoom has told a time of: nothing follows from an instance of which it has not.
HAS_TIMES = or_(Instance.started_at.is_not(None), Instance.ended_at.is_not(None))
