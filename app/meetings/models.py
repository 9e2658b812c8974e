"""Tables of the Zoom meetings that serve events, and of the instances of these meetings."""

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

from app.core.database import Model
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
    """The Zoom meeting of an event: what we sent, and what Zoom last reported.

    At most one meeting serves an event. Others are `retiring` (to be deleted at Zoom) or `retired` (history).
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
    # The text at the head of the agenda, by which we recognise a meeting whose creation got no answer.
    marker: Mapped[str] = mapped_column(Text)
    # The attempt marker: when a creation was sent whose outcome is unknown; None if there is none.
    attempted_at: Mapped[datetime | None]
    # The plan that Zoom last accepted. It lacks the fields that are unknown because a change got no answer.
    last_sent: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # What Zoom reported when the meeting was last read, without unknown fields; None has it read and corrected anew.
    observed: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # The changes without an answer, `{at, body}` each. Zoom may have made one, or may still make it.
    unanswered: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    # Optional fields that Zoom refused, by name, with the value it refused. They are not sent again with that value.
    left_out: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    # The general link of the meeting. None until the meeting exists, and if its link does not lead to Zoom.
    join_url: Mapped[EncryptedColumn | None]
    # Whether only registrants whom we added get in.
    protected: Mapped[bool] = mapped_column(server_default="true")
    # Why the last sync failed, `{type, detail, retry_at}`, as admins see it.
    last_error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # Markers of attempts that we stopped waiting for. A meeting that carries one is an orphan and is deleted.
    orphan_markers: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    created_at: Mapped[datetime]
    # When the meeting was last changed or read at Zoom.
    synced_at: Mapped[datetime | None]
    # The version of the event that was last synced. A save after it undoes what people changed inside Zoom.
    synced_version: Mapped[int | None]
    # When our copy was last suspected to be stale, so that the meeting is read again; None if it is not.
    stale_since: Mapped[datetime | None]
    # The time of the last change notification whose content we stored, because the grant does not allow to read.
    last_notified_at: Mapped[datetime | None]
    # When a job last decided to ask Zoom whether the meeting took place, because no notification reported it.
    outcome_polled_at: Mapped[datetime | None]


class Instance(Model):
    """One instance of a meeting, identified by its UUID.

    It has no times if only its recording was reported.
    """

    __tablename__ = "instances"
    __table_args__ = (
        UniqueConstraint("meeting_id", "uuid"),
        # For the periodic job that looks for unreported recordings.
        Index("ix_instances_ended_at", "ended_at", postgresql_where=text("recording_available IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    meeting_id: Mapped[UUID] = mapped_column(ForeignKey("meetings.id"), index=True)
    uuid: Mapped[str] = mapped_column(Text)
    # The first start and the last end, derived from the reported times below and from inferred ones.
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    # Every start and every end that Zoom reported: an instance that ended may be opened again.
    starts: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    ends: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    # Whether `ended_at` is inferred: no end was reported, but the instance was over by then.
    end_inferred: Mapped[bool] = mapped_column(server_default="false")
    # Whether Zoom has a recording of the instance; None while Zoom has reported nothing.
    recording_available: Mapped[bool | None]
    # The time of the report that counts. An older report does not change it.
    recording_reported_at: Mapped[datetime | None]
    # When a job last decided to ask Zoom for a recording.
    recording_polled_at: Mapped[datetime | None]

    @property
    def runs(self) -> list[InstanceTimes]:
        """Return the runs of the instance in order. An instance that ended may be opened again."""
        return runs(self.starts, self.ends, earliest_start=self.started_at, inferred_end=self.inferred_end)

    @property
    def inferred_end(self) -> datetime | None:
        """Return the inferred end; None if the end was reported or is unknown."""
        return self.ended_at if self.end_inferred else None


# Selects instances with a known time. An instance without one says nothing about its event.
HAS_TIMES = or_(Instance.started_at.is_not(None), Instance.ended_at.is_not(None))
