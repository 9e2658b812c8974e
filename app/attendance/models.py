"""Table of participant sessions: one client in one instance, with when it joined, left or waited."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, DateTime, ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model

_TIMESTAMPS = ARRAY(DateTime(timezone=True))


class ParticipantSession(Model):
    """One client in one instance: every moment at which it joined, left, waited or stopped waiting.

    Zoom gives a client another id at each move between rooms, so several rows may be one connection (`connections` ties
    them together). Of the person only identifying fields are stored: no phone number, no network address, no reason for
    leaving.
    """

    __tablename__ = "participant_sessions"
    __table_args__ = (UniqueConstraint("meeting_id", "instance_uuid", "connection"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    meeting_id: Mapped[UUID] = mapped_column(ForeignKey("meetings.id"))
    instance_uuid: Mapped[str] = mapped_column(Text)
    # Zoom's id of the client: unique within the instance, and replaced at a move between rooms.
    connection: Mapped[str] = mapped_column(Text)
    joins: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    leaves: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    # The subset of `leaves` whose reason says that the client had been inside and not only waited.
    left_inside: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    # When the client was put into the waiting room, or began to wait for the host.
    waits: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    # When the client gave up waiting (for the host or in the waiting room), or was removed there.
    waits_ended: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    # Zoom's report after the end: the client was inside from `reported_from[i]` until `reported_until[i]`.
    reported_from: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    reported_until: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    # Zoom's id of the connection: the same after a move between rooms, another one for a rejoin or a second device.
    participant_uuid: Mapped[str | None] = mapped_column(Text)
    # Whether the person called in by phone; then no click on Join led here.
    by_phone: Mapped[bool] = mapped_column(server_default="false")
    registrant_id: Mapped[str | None] = mapped_column(Text)
    zoom_user_id: Mapped[str | None] = mapped_column(Text)
    email: Mapped[str | None] = mapped_column(Text)
    name: Mapped[str | None] = mapped_column(Text)
    # The member an admin or coach assigned. None with `assigned_at` set: an earlier assignment was withdrawn.
    assigned_to: Mapped[str | None] = mapped_column(Text)
    assigned_by: Mapped[str | None] = mapped_column(Text)
    assigned_at: Mapped[datetime | None]

    @property
    def first_seen(self) -> datetime:
        """The first moment that is known of the client."""
        return min([*self.joins, *self.leaves, *self.waits, *self.waits_ended, *self.reported_from])

    @property
    def inside_moments(self) -> list[datetime]:
        """The moments at which the client was inside; empty for a client that only waited."""
        return [*self.joins, *self.leaves, *self.reported_from, *self.reported_until]
