"""The "Video & meetings" card for admins: connected accounts with hosts, scopes, webhooks and token errors."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy import select

from app.accounts import host_warnings, oauth_connect, quotas, reservations, token_errors, webhook_secrets
from app.accounts.host_warnings import WarningItem
from app.accounts.models import Account, Host
from app.clients.zoom import missing_scopes
from app.core import database
from app.web import Schema

_UPCOMING = """
SELECT hosts.account_id, count(DISTINCT reservations.event_id) AS events
FROM reservations JOIN hosts ON hosts.id = reservations.host_id
WHERE hosts.account_id = ANY(:accounts) AND upper(reservations.during) > :now GROUP BY hosts.account_id
"""
# Hosts with events to come which cannot hold them, or only without personal links.
_UNAVAILABLE_HOSTS = """
SELECT hosts.account_id, coalesce(hosts.name, '') AS name,
    (hosts.listed OR hosts.name IS NULL) AND accounts.user_scope IN ('', hosts.zoom_user_id) AS offered,
    count(DISTINCT reservations.event_id) AS events
FROM reservations JOIN hosts ON hosts.id = reservations.host_id
    JOIN accounts ON accounts.id = hosts.account_id
WHERE hosts.account_id = ANY(:accounts) AND upper(reservations.during) > :now
    AND NOT ((hosts.listed OR hosts.name IS NULL) AND hosts.licensed
             AND accounts.user_scope IN ('', hosts.zoom_user_id))
GROUP BY hosts.id, accounts.user_scope ORDER BY name, hosts.id
"""
_QUOTA_USED = "SELECT key, used FROM quota_usage WHERE day = :day AND key = ANY(:keys)"


class HostCard(Schema):
    """A Zoom user of the account who can own meetings."""

    id: UUID = Field(examples=["0b8e8a3e-6f0e-4b4e-9d0b-0a2f6b1f0c11"])
    name: str = Field(examples=["Rita Rivers"])
    email: str | None = Field(examples=["rita@riverside.example"])
    licensed: bool = Field(description="Whether members get personal links on this host's meetings", examples=[True])
    capacity: int | None = Field(description="People a meeting takes; null until Zoom has said", examples=[300])
    cloud_recording: bool | None = Field(examples=[True])
    quota_left: int = Field(description="Meetings Zoom still makes or changes for this host today", examples=[100])
    member_id: str | None = Field(description="The member whose host this is", examples=["member-7"])


class MissingScope(Schema):
    """A permission that the grant lacks, and what is lost without it."""

    scope: str = Field(examples=["meeting:delete:meeting"])
    lost: str = Field(examples=["Kindryn cannot cancel the meeting with the event."])


class WebhookCard(Schema):
    """What is known of Zoom's notifications about the account."""

    last_received_at: datetime | None = Field(examples=["2026-11-22T10:00:00Z"])
    own_secret: bool = Field(
        description="Whether notifications are signed with the account's own secret", examples=[False]
    )
    former_secret_until: datetime | None = Field(
        description="Until when the secret before the present one counts too", examples=[None]
    )


class TokenError(Schema):
    """The latest failure to get a token, while the connection is not known to have ended."""

    type: str = Field(description="A stable slug", examples=["token-refused"])
    detail: str = Field(
        examples=["Zoom gives no new token at the moment (User is locked). It is tried again by itself."]
    )
    since: datetime = Field(description="Since when no token has come", examples=["2026-11-22T09:58:00Z"])
    at: datetime = Field(description="When it was last tried", examples=["2026-11-22T10:00:00Z"])


class AccountCard(Schema):
    """One connected Zoom account."""

    id: UUID = Field(examples=["5a0c3ab2-54ab-4b1c-86f4-8a5a5e5c0d4e"])
    email: str | None = Field(description="The Zoom user who connected it", examples=["rita@riverside.example"])
    status: Literal["connected", "needs_reauth"] = Field(examples=["connected"])
    reason: str | None = Field(
        description="Why it must be connected again, or what is wrong although it is connected", examples=[None]
    )
    last_error: TokenError | None = Field(
        description="What is wrong at the moment; null once Zoom has given a token again", examples=[None]
    )
    connected_at: datetime = Field(examples=["2026-11-22T09:30:00Z"])
    hosts: list[HostCard]
    warnings: list[WarningItem]
    missing_scopes: list[MissingScope]
    upcoming_events: int = Field(description="Events to come on its hosts", examples=[3])
    webhook: WebhookCard


class IntegrationCard(Schema):
    """The Zoom integration of a community. Disconnected accounts are not on it."""

    configured: bool = Field(examples=[True])
    message: str | None = Field(description="Why nothing can be connected here", examples=[None])
    accounts: list[AccountCard]


async def integration_card(tx: database.Tx, community_id: str, *, configured: bool) -> IntegrationCard:
    """Return the whole card; `configured` says whether the operator has set up Zoom."""
    accounts = await tx.session.scalars(
        select(Account)
        .where(Account.community_id == community_id, Account.status != "disconnected")
        .order_by(Account.connected_at, Account.id)
    )
    return IntegrationCard(
        configured=configured,
        message=None if configured else f"{oauth_connect.NOT_CONFIGURED} {oauth_connect.HOW_TO_CONFIGURE}",
        accounts=await account_cards(tx, list(accounts)),
    )


async def account_cards(tx: database.Tx, accounts: Sequence[Account]) -> list[AccountCard]:
    """Return the cards of these accounts, in their order."""
    ids = [account.id for account in accounts]
    listed: dict[UUID, list[Host]] = defaultdict(list)
    found = await tx.session.scalars(
        select(Host).where(Host.account_id.in_(ids), Host.listed).order_by(Host.licensed.desc(), Host.name, Host.id)
    )
    for host in found:
        listed[host.account_id].append(host)
    rows = await tx.execute(_UPCOMING, accounts=ids, now=tx.now)
    upcoming = {row.account_id: row.events for row in rows}
    warnings_by_account: dict[UUID, list[WarningItem]] = defaultdict(list)
    for row in await tx.execute(_UNAVAILABLE_HOSTS, accounts=ids, now=tx.now):
        make_warning = (
            host_warnings.unlicensed_host_with_events if row.offered else host_warnings.unavailable_host_with_events
        )
        warnings_by_account[row.account_id].append(make_warning(row.name, row.events))
    cards_by_host = await host_cards(tx, [host for hosts in listed.values() for host in hosts])
    return [
        _account_card(
            account,
            [cards_by_host[host.id] for host in listed[account.id]],
            warnings_by_account[account.id],
            upcoming.get(account.id, 0),
            tx.now,
        )
        for account in accounts
    ]


def _account_card(
    account: Account, hosts: list[HostCard], account_warnings: Sequence[WarningItem], upcoming: int, now: datetime
) -> AccountCard:
    recording_warnings = [host_warnings.no_cloud_recording()] if can_record(account, hosts) is False else []
    return AccountCard(
        id=account.id,
        email=account.email,
        status="connected" if account.status == "connected" else "needs_reauth",
        reason=account.reason or token_errors.stored_message(account.token_error),
        last_error=TokenError.model_validate(account.token_error) if account.token_error else None,
        connected_at=account.connected_at,
        hosts=hosts,
        warnings=[*recording_warnings, *account_warnings],
        missing_scopes=missing_scope_items(account),
        upcoming_events=upcoming,
        webhook=webhook_card(account, now),
    )


async def host_cards(tx: database.Tx, hosts: Sequence[Host]) -> dict[UUID, HostCard]:
    """Return the hosts as the admin sees them, by id."""
    keys = [reservations.host_key(host.zoom_user_id) for host in hosts]
    used = {row.key: row.used for row in await tx.execute(_QUOTA_USED, keys=keys, day=quotas.utc_day(tx.now))}
    return {
        host.id: HostCard(
            id=host.id,
            name=host.name or "",
            email=host.email,
            licensed=host.licensed,
            capacity=host.capacity,
            cloud_recording=host.cloud_recording,
            quota_left=max(0, quotas.MEETINGS_PER_HOST - used.get(reservations.host_key(host.zoom_user_id), 0)),
            member_id=host.member_id,
        )
        for host in hosts
    }


def webhook_card(account: Account, now: datetime) -> WebhookCard:
    """Return what is known of the account's notifications; never a secret."""
    valid_until = webhook_secrets.previous_valid_until(account)
    return WebhookCard(
        last_received_at=account.notified_at,
        own_secret=account.webhook_secret is not None,
        former_secret_until=valid_until if valid_until is not None and now < valid_until else None,
    )


def can_record(account: Account, hosts: Sequence[HostCard]) -> bool | None:
    """Return whether anybody on the account can record to the cloud; None while nothing is known."""
    values = [account.settings.get("cloud_recording"), *(host.cloud_recording for host in hosts)]
    known_values = [value for value in values if value is not None]
    return any(known_values) if known_values else None


def missing_scope_items(account: Account) -> list[MissingScope]:
    """Return the required scopes that the grant does not meet."""
    return [
        MissingScope(scope=scope.name, lost=f"Kindryn cannot {scope.feature}.")
        for scope in missing_scopes(account.scopes)
    ]
