"""Tables of hooks: endpoints, messages for them, attempts, and what was announced about events."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Identity, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model
from app.core.encrypted_columns import EncryptedColumn
from app.core.models import Community
from app.events.models import Event


class HookEndpoint(Model):
    """An endpoint at which a community wants to be notified of what happens."""

    __tablename__ = "hook_endpoints"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    community_id: Mapped[str] = mapped_column(ForeignKey(Community.id), index=True)
    url: Mapped[str] = mapped_column(Text)
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secret: Mapped[EncryptedColumn]
    # The previous secret; it also signs until `secrets.OVERLAP` after `secret_changed_at`.
    former_secret: Mapped[EncryptedColumn | None]
    secret_changed_at: Mapped[datetime | None]
    enabled: Mapped[bool] = mapped_column(server_default="true")
    # Why the endpoint is disabled; None if an admin disabled it.
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class HookEventState(Model):
    """What was last announced to the platform about an event. Messages follow from the difference to the present."""

    __tablename__ = "hook_event_states"

    event_id: Mapped[UUID] = mapped_column(ForeignKey(Event.id), primary_key=True)
    live: Mapped[bool] = mapped_column(server_default="false")
    # How many runs of the event's meeting had ended.
    ended_runs: Mapped[int] = mapped_column(server_default="0")
    # The start for which the host was missing.
    host_missed_at: Mapped[datetime | None]


class HookMessage(Model):
    """One message for one endpoint. Its id is the `webhook-id`, and its body is the same in every attempt.

    Messages about one subject are sent in the order of their numbers. Each is sent once the previous ones were
    delivered or given up.
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
    # The id of the row the message is about, for example an event.
    subject: Mapped[UUID]
    body: Mapped[str] = mapped_column(Text)
    # `waiting` for its turn or the next attempt, `delivered`, or `given_up`.
    state: Mapped[str] = mapped_column(Text, server_default="waiting")
    # Attempts since the message was created or last redelivered. Earlier ones stay in `hook_attempts`.
    attempts: Mapped[int] = mapped_column(server_default="0")
    # The next attempt; None once the message is delivered or given up.
    next_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class HookAttempt(Model):
    """One attempt to send a message: the status of the response, or the problem if there was none."""

    __tablename__ = "hook_attempts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("hook_messages.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    status: Mapped[int | None]
    problem: Mapped[str | None] = mapped_column(Text)
