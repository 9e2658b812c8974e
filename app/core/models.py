"""Tables of the outbox, paused queues, idempotency keys, communities, memberships and audit entries."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model

_ALIVE = text("dead_at IS NULL")


class OutboxRow(Model):
    """A pending run of one (job, key). The statements that change it stand in `core.outbox`."""

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
    # How often the row was requested. Completion deletes the row only if this is unchanged.
    generation: Mapped[int] = mapped_column(BigInteger, server_default="1")
    due_at: Mapped[datetime]
    # A new request does not make the row due earlier than this; None if nothing holds the row back.
    not_before: Mapped[datetime | None]
    # The smaller runs first; 0 is work that a person waits for.
    priority: Mapped[int] = mapped_column(SmallInteger)
    # The concurrency group; empty for a row without a limit.
    queue: Mapped[str] = mapped_column(Text, server_default="")
    # The run that has the row; None while the row waits, and while it is only promised to a worker.
    lease: Mapped[UUID | None]
    # When the lease or the promise expires, by the database's clock.
    claimed_until: Mapped[datetime | None]
    # Failed runs since the last success.
    attempts: Mapped[int] = mapped_column(server_default="0")
    failing_since: Mapped[datetime | None]
    # Why the last run did not finish the row.
    reason: Mapped[str | None] = mapped_column(Text)
    # The run of another row has this row in its batch.
    in_batch: Mapped[bool] = mapped_column(server_default="false")
    # A batch with this row failed, so the row is run by itself from now on.
    unbatched: Mapped[bool] = mapped_column(server_default="false")
    # When the job was given up; None while it is alive.
    dead_at: Mapped[datetime | None]
    # The correlation id of the request that asked for the row last.
    correlation: Mapped[str | None] = mapped_column(Text)
    # When the row was inserted.
    recorded_at: Mapped[datetime]


class PausedQueue(Model):
    """A paused queue: none of its rows is claimed before `not_before`.

    Urgent rows ignore the last `outbox.PAUSE_URGENT_IGNORES` of it.
    """

    __tablename__ = "queues"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    not_before: Mapped[datetime]


class IdempotencyKey(Model):
    """The response to a POST that creates, kept for a day so that repeating the request creates nothing.

    If the created thing was deleted since, only the key is kept: no body and no fingerprint.
    """

    __tablename__ = "idempotency_keys"

    member_id: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    # SHA-256 of the request's method, path and body.
    fingerprint: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None]
    body: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime]


class Community(Model):
    """A tenant of the platform, as tokens last described it. Its id is its identity; the slug may change."""

    __tablename__ = "communities"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    slug: Mapped[str] = mapped_column(Text)


class Membership(Model):
    """Whether tokens of a member name a community, and when the member last left it.

    `named_at` is the `iat` of the first token that named it since the member last left.
    """

    __tablename__ = "memberships"
    __table_args__ = (Index("ix_memberships_left", "left_at", postgresql_where=text("named_at IS NULL")),)

    member_id: Mapped[str] = mapped_column(Text, primary_key=True)
    community_id: Mapped[str] = mapped_column(Text, primary_key=True)
    named_at: Mapped[datetime | None]
    left_at: Mapped[datetime | None]


class AuditEntry(Model):
    """What somebody did on another person's behalf.

    `subject` is the person concerned, and `about` the event, if there is one.
    """

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_community_id_at", "community_id", "at"), Index("ix_audit_at", "at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    community_id: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    about: Mapped[str | None] = mapped_column(Text)
