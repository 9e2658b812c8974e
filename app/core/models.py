"""Tables of the mechanism itself, and the tenants everything belongs to."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model

_ALIVE = text("dead_at IS NULL")


class OutboxRow(Model):
    """Pending work for one (job, key). The statements that move it stand in `core.outbox`."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("job", "key"),
        Index("ix_outbox_urgent", "due_at", postgresql_where=text("dead_at IS NULL AND priority = 0")),
        Index("ix_outbox_lease", "lease", postgresql_where=text("lease IS NOT NULL")),
        Index("ix_outbox_queue", "queue", "priority", "due_at", "id", postgresql_where=_ALIVE),
        Index("ix_outbox_batch", "job", "queue", "priority", "due_at", "id", postgresql_where=_ALIVE),
        Index(
            "ix_outbox_claimed",
            "queue",
            "claimed_until",
            postgresql_where=text("claimed_until IS NOT NULL AND NOT in_batch"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    generation: Mapped[int] = mapped_column(BigInteger, server_default="1")
    due_at: Mapped[datetime]
    not_before: Mapped[datetime | None]
    priority: Mapped[int] = mapped_column(SmallInteger)
    queue: Mapped[str] = mapped_column(Text, server_default="")
    lease: Mapped[UUID | None]
    claimed_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    failing_since: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(Text)
    # Held by the run of another row, which does this one beside its own.
    in_batch: Mapped[bool] = mapped_column(server_default="false")
    # A batch this row was in failed, so it is run by itself.
    unbatched: Mapped[bool] = mapped_column(server_default="false")
    dead_at: Mapped[datetime | None]
    correlation: Mapped[str | None] = mapped_column(Text)
    recorded_at: Mapped[datetime]


class PausedQueue(Model):
    """A queue that is paused: none of its rows is claimed before then."""

    __tablename__ = "queues"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    not_before: Mapped[datetime]


class IdempotencyKey(Model):
    """The answer to a POST that creates, kept for a day so that the same request again creates nothing.

    Of what was deleted since nothing is kept but the key: no body, no fingerprint."""

    __tablename__ = "idempotency_keys"

    member_id: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None]
    body: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime]


class Community(Model):
    """A tenant of the platform, as tokens last described it. Keyed by its id; the slug is only its current name."""

    __tablename__ = "communities"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    slug: Mapped[str] = mapped_column(Text)


class Membership(Model):
    """That tokens of a member name a community (`named_at`: the first since), and when the member last left it."""

    __tablename__ = "memberships"
    __table_args__ = (Index("ix_memberships_left", "left_at", postgresql_where=text("named_at IS NULL")),)

    member_id: Mapped[str] = mapped_column(Text, primary_key=True)
    community_id: Mapped[str] = mapped_column(Text, primary_key=True)
    named_at: Mapped[datetime | None]
    left_at: Mapped[datetime | None]


class AuditEntry(Model):
    """What somebody did on another's behalf. `subject` is whom it concerns, `about` the event, if there is one."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_community_id_at", "community_id", "at"), Index("ix_audit_at", "at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    community_id: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    about: Mapped[str | None] = mapped_column(Text)
