"""Tables of accounts, grants, pending connects, revocations, hosts, reservations, rate limits and quotas."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB, TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model
from app.core.encrypted_columns import EncryptedColumn
from app.core.models import Community


class Account(Model):
    """A Zoom account connected to a community.

    The row outlives a disconnect, so that history and a reconnect can find it.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("status IN ('connected', 'needs_reauth', 'disconnected')", name="status"),
        # A Zoom account belongs to one community at a time. A grant for one user only is a connection of its own.
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
    # The Zoom user id if the grant can act for that user only, else empty.
    user_scope: Mapped[str] = mapped_column(Text, server_default="")
    # The Zoom user who connected; None after a disconnect.
    email: Mapped[str | None] = mapped_column(Text)
    # `needs_reauth`: the grant is dead, and an admin must connect again.
    status: Mapped[str] = mapped_column(Text)
    # A sentence for admins about the status; None while there is nothing to explain.
    reason: Mapped[str | None] = mapped_column(Text)
    # The last failure of the token endpoint that did not end the grant; None after the next success.
    token_error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    # `cloud_recording` and `livestream` of the connecting user, as last read; empty until then.
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    webhook_secret: Mapped[EncryptedColumn | None]
    # Up to three previous secrets, one a line, which stay valid for a day beside the present one.
    former_webhook_secret: Mapped[EncryptedColumn | None]
    webhook_secret_changed_at: Mapped[datetime | None]
    connected_by: Mapped[str] = mapped_column(Text)
    connected_at: Mapped[datetime]
    disconnected_at: Mapped[datetime | None]
    # When the account was last read from Zoom.
    read_at: Mapped[datetime | None]
    # When Zoom last delivered a notification about the account, to within 10 seconds.
    notified_at: Mapped[datetime | None]


class Grant(Model):
    """An account's encrypted tokens.

    No other table references this one, so a refresh under its row lock blocks nobody else.
    """

    __tablename__ = "grants"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    access_token: Mapped[EncryptedColumn]
    refresh_token: Mapped[EncryptedColumn]
    api_url: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime]
    # How often the tokens were replaced, so that a process sees whether its copy is the present one.
    generation: Mapped[int] = mapped_column(BigInteger, server_default="1")
    # When a refresh of these tokens began; None once Zoom has answered. While it is set, the refresh token may be spent
    # and its successor lost.
    refresh_started_at: Mapped[datetime | None]
    # When we learned that the database had been restored from a backup. The tokens may have been refreshed since the
    # backup, so the next use refreshes them first. None otherwise.
    stale_since: Mapped[datetime | None]


class Revocation(Model):
    """Tokens that wait to be revoked; the row goes once Zoom has answered or 24 hours are over.

    Zoom revokes by the access token. The refresh token gets a new access token if that one has expired.
    """

    __tablename__ = "revocations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    access_token: Mapped[EncryptedColumn]
    refresh_token: Mapped[EncryptedColumn]
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime]


class PendingConnect(Model):
    """A connect in progress: the single-use state, and the encrypted code once Zoom has sent it back."""

    __tablename__ = "connects"

    state_digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    handle_digest: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    community_id: Mapped[str] = mapped_column(ForeignKey(Community.id))
    member_id: Mapped[str] = mapped_column(Text)
    verifier: Mapped[EncryptedColumn]
    code: Mapped[EncryptedColumn | None]
    expires_at: Mapped[datetime]
    # When the browser came back from Zoom; the state cannot be used again.
    returned_at: Mapped[datetime | None]
    # When the admin confirmed; the handle cannot be used again.
    confirmed_at: Mapped[datetime | None]


class Host(Model):
    """A Zoom user of an account who can own meetings.

    After a disconnect only the ids remain, for history and a reconnect.
    """

    __tablename__ = "hosts"
    __table_args__ = (UniqueConstraint("account_id", "zoom_user_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), index=True)
    zoom_user_id: Mapped[str] = mapped_column(Text)
    email: Mapped[str | None] = mapped_column(Text)
    # None after a disconnect until the account is read again. As long, `listed` says nothing about Zoom.
    name: Mapped[str | None] = mapped_column(Text)
    licensed: Mapped[bool]
    # How many people a meeting takes; None while unknown.
    capacity: Mapped[int | None]
    # None while unknown.
    cloud_recording: Mapped[bool | None]
    # Whether Zoom lists the user as active and able to hold meetings.
    listed: Mapped[bool]
    # The member whose host this is.
    member_id: Mapped[str | None] = mapped_column(Text)
    # The admin who decided about `member_id` (also that it is nobody), or `equal-email`; None: nobody has decided.
    member_set_by: Mapped[str | None] = mapped_column(Text)
    member_set_at: Mapped[datetime | None]


class Reservation(Model):
    """A time range reserved for a host, a coach or a member; two of one key never overlap."""

    __tablename__ = "reservations"
    __table_args__ = (
        ExcludeConstraint(("key", "="), ("during", "&&"), name="ex_reservations_overlap", using="gist"),
        Index("ix_reservations_event_id", "event_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    # Whose time it is, such as `host:<Zoom user id>`; `suspended:<event id>` while the account is disconnected.
    key: Mapped[str] = mapped_column(Text)
    during: Mapped[Range[datetime]] = mapped_column(TSTZRANGE)
    event_id: Mapped[UUID]
    # The host of the event. The key names the Zoom user, who may be a host of several connections.
    host_id: Mapped[UUID | None] = mapped_column(ForeignKey("hosts.id"), index=True)


class RateLimitSlot(Model):
    """When the next call of a rate label may be sent for a Zoom account, by the database's clock."""

    __tablename__ = "rate_limit_slots"

    zoom_account_id: Mapped[str] = mapped_column(Text, primary_key=True)
    label: Mapped[str] = mapped_column(Text, primary_key=True)
    next_at: Mapped[datetime]


class QuotaUsage(Model):
    """How much of a daily limit is used: `key` is a host, a registrant and so on, `day` the UTC day."""

    __tablename__ = "quota_usage"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    day: Mapped[str] = mapped_column(Text, primary_key=True)
    used: Mapped[int]
