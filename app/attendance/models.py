"""Table of who Zoom saw inside."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, DateTime, ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model

_TIMESTAMPS = ARRAY(DateTime(timezone=True))


class ParticipantSession(Model):
    """One client in one instance, as far as Zoom has told: every moment at which it joined, left, was made to wait, or
    ceased to wait.

    Zoom gives a client another id at each room move, so several rows may be one connection: `connections` ties them.
    Of the person it keeps what tells who it is: no phone number, no network address, no reason for leaving.
    """

    __tablename__ = "participant_sessions"
    __table_args__ = (UniqueConstraint("meeting_id", "instance_uuid", "connection"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    meeting_id: Mapped[UUID] = mapped_column(ForeignKey("meetings.id"))
    instance_uuid: Mapped[str] = mapped_column(Text)
    # Zoom's id of the client, which means nothing outside the instance, and does not survive a room move.
    connection: Mapped[str] = mapped_column(Text)
    joins: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    leaves: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    # Those of the leaves whose reason says that the client left from inside: it had not just waited.
    left_inside: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    waits: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    # When somebody who had waited for the host, or in the waiting room, gave up or was removed.
    waits_ended: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    # What Zoom reported afterwards: from when until when the client was inside, pair by pair.
    reported_from: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    reported_until: Mapped[list[datetime]] = mapped_column(_TIMESTAMPS, server_default="{}")
    # Zoom's id of the connection: it stays through room moves, and differs for a rejoin and for a second device.
    participant_uuid: Mapped[str | None] = mapped_column(Text)
    # Whether somebody called in: then no click at our door brought them.
    by_phone: Mapped[bool] = mapped_column(server_default="false")
    registrant_id: Mapped[str | None] = mapped_column(Text)
    zoom_user_id: Mapped[str | None] = mapped_column(Text)
    email: Mapped[str | None] = mapped_column(Text)
    name: Mapped[str | None] = mapped_column(Text)
    # Who an admin or coach says it is.
    assigned_to: Mapped[str | None] = mapped_column(Text)
    assigned_by: Mapped[str | None] = mapped_column(Text)
    assigned_at: Mapped[datetime | None]

    @property
    def first_seen(self) -> datetime:
        """The first moment that is known of the client."""
        return min([*self.joins, *self.leaves, *self.waits, *self.waits_ended, *self.reported_from])

    @property
    def inside_moments(self) -> list[datetime]:
        """The moments at which the client was inside; none of one that only waited."""
        return [*self.joins, *self.leaves, *self.reported_from, *self.reported_until]
