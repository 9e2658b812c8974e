"""Tables of connected Zoom accounts, their grants, hosts and held times."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB, TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model
from app.core.encrypted_columns import EncryptedColumn
from app.core.models import Community


class Account(Model):
    """A Zoom account connected to a community. The row outlives a disconnect: history and a reconnect find it."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("status IN ('connected', 'needs_reauth', 'disconnected')", name="status"),
        # One community at a time; a grant for one user only is a connection of its own.
        Index(
            "uq_accounts_connected",
            "zoom_account_id",
            "user_scope",
            unique=True,
            postgresql_where=text("status <> 'disconnected'"),
        ),
        UniqueConstraint("community_id", "zoom_account_id", "user_scope"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    community_id: Mapped[str] = mapped_column(ForeignKey(Community.id))
    zoom_account_id: Mapped[str] = mapped_column(Text)
    zoom_user_id: Mapped[str] = mapped_column(Text)
    # The Zoom user id where the grant acts on its own user only, else empty.
    user_scope: Mapped[str] = mapped_column(Text, server_default="")
    email: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    # What the token endpoint said when it last gave no token, without ending the grant; None once it has given one.
    token_error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    webhook_secret: Mapped[EncryptedColumn | None]
    # The one before, which counts for a while beside the present one.
    former_webhook_secret: Mapped[EncryptedColumn | None]
    webhook_secret_changed_at: Mapped[datetime | None]
    connected_by: Mapped[str] = mapped_column(Text)
    connected_at: Mapped[datetime]
    disconnected_at: Mapped[datetime | None]
    read_at: Mapped[datetime | None]
    notified_at: Mapped[datetime | None]


class Grant(Model):
    """An account's tokens, sealed. No other table references it, so a refresh under its row lock holds up nobody."""

    __tablename__ = "grants"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    access_token: Mapped[EncryptedColumn]
    refresh_token: Mapped[EncryptedColumn]
    api_url: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime]
    generation: Mapped[int] = mapped_column(BigInteger, server_default="1")
    # When Zoom was last asked to renew these tokens, until it has answered: they may be spent, and the new ones lost.
    refresh_started_at: Mapped[datetime | None]
    # Since when they may have been renewed elsewhere, as the database was restored: they are renewed before use.
    stale_since: Mapped[datetime | None]


class Revocation(Model):
    """Tokens on their way to be revoked; gone once Zoom has answered or 24 hours are over.

    The access token is what Zoom takes back. The refresh token wins a fresh one where that had expired by itself.
    """

    __tablename__ = "revocations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    access_token: Mapped[EncryptedColumn]
    refresh_token: Mapped[EncryptedColumn]
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime]


class PendingConnect(Model):
    """A connect under way: the single-use state an admin left with, and the code Zoom sent back, sealed."""

    __tablename__ = "connects"

    state_digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    handle_digest: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    community_id: Mapped[str] = mapped_column(ForeignKey(Community.id))
    member_id: Mapped[str] = mapped_column(Text)
    verifier: Mapped[EncryptedColumn]
    code: Mapped[EncryptedColumn | None]
    expires_at: Mapped[datetime]
    returned_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]


class Host(Model):
    """A Zoom user of an account who can own meetings. After a disconnect only the key remains, for a reconnect."""

    __tablename__ = "hosts"
    __table_args__ = (UniqueConstraint("account_id", "zoom_user_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), index=True)
    zoom_user_id: Mapped[str] = mapped_column(Text)
    email: Mapped[str | None] = mapped_column(Text)
    # None while nothing is known of them since a disconnect: then `listed` says nothing about Zoom.
    name: Mapped[str | None] = mapped_column(Text)
    licensed: Mapped[bool]
    capacity: Mapped[int | None]
    cloud_recording: Mapped[bool | None]
    listed: Mapped[bool]
    member_id: Mapped[str | None] = mapped_column(Text)
    member_set_by: Mapped[str | None] = mapped_column(Text)
    member_set_at: Mapped[datetime | None]


class Reservation(Model):
    """A stretch of time held for a host, a coach or a member; two of one subject never overlap."""

    __tablename__ = "reservations"
    __table_args__ = (
        ExcludeConstraint(("key", "="), ("during", "&&"), name="ex_reservations_overlap", using="gist"),
        Index("ix_reservations_event_id", "event_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    key: Mapped[str] = mapped_column(Text)
    during: Mapped[Range[datetime]] = mapped_column(TSTZRANGE)
    event_id: Mapped[UUID]
    # The host the event is on: the subject is the Zoom user, who may be a host of several connections.
    host_id: Mapped[UUID | None] = mapped_column(ForeignKey("hosts.id"), index=True)


class RateLimitSlot(Model):
    """When the next call of a rate label may be made for a Zoom account, in the database's own time."""

    __tablename__ = "rate_limit_slots"

    zoom_account_id: Mapped[str] = mapped_column(Text, primary_key=True)
    label: Mapped[str] = mapped_column(Text, primary_key=True)
    next_at: Mapped[datetime]


class QuotaUsage(Model):
    """What was spent of one of Zoom's daily limits: `key` is a host or a registrant, `day` in UTC."""

    __tablename__ = "quota_usage"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    day: Mapped[str] = mapped_column(Text, primary_key=True)
    used: Mapped[int]
