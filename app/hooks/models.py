"""Tables of endpoints, the messages made for them, and how each sending of one went."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Identity, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model
from app.core.encrypted_columns import EncryptedColumn
from app.core.models import Community
from app.events.models import Event


class HookEndpoint(Model):
    """Where a community wants to be told of what happens."""

    __tablename__ = "hook_endpoints"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    community_id: Mapped[str] = mapped_column(ForeignKey(Community.id), index=True)
    url: Mapped[str] = mapped_column(Text)
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secret: Mapped[EncryptedColumn]
    # The one before, which signs for a while beside the present one.
    former_secret: Mapped[EncryptedColumn | None]
    secret_changed_at: Mapped[datetime | None]
    enabled: Mapped[bool] = mapped_column(server_default="true")
    # Why it is not enabled, where it was not an admin who switched it off.
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class HookEventState(Model):
    """What the platform was last told of an event: whether it is live, how many holdings are over, and for which start
    its host was missing."""

    __tablename__ = "hook_event_states"

    event_id: Mapped[UUID] = mapped_column(ForeignKey(Event.id), primary_key=True)
    live: Mapped[bool] = mapped_column(server_default="false")
    ended_runs: Mapped[int] = mapped_column(server_default="0")
    host_missed_at: Mapped[datetime | None]


class HookMessage(Model):
    """One message for one endpoint. Its id is the `webhook-id`, and the body stays as it is, however often it is sent.

    Messages about one subject are sent in the order of their numbers, each once those before it have arrived or were
    given up.

    `attempts` counts since it was last asked for; what was tried before that is still listed.
    """

    __tablename__ = "hook_messages"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'delivered', 'given_up')", name="state"),
        Index("ix_hook_messages_endpoint_id_created_at", "endpoint_id", "created_at"),
        Index("ix_hook_messages_subject", "subject", "endpoint_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    number: Mapped[int] = mapped_column(BigInteger, Identity())
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("hook_endpoints.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(Text)
    # The row the message is about.
    subject: Mapped[UUID]
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="waiting")
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class HookAttempt(Model):
    """One sending of a message: the status that was answered, or why none was."""

    __tablename__ = "hook_attempts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("hook_messages.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    status: Mapped[int | None]
    problem: Mapped[str | None] = mapped_column(Text)
