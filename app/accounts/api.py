"""Routes for admins of a Zoom integration: card, hosts, sync, webhook secret, preflight, disconnecting."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime, Field

from app import commands, web
from app.accounts import connect_api, hosts, integration_view, preflight, quotas, service, webhook_secrets
from app.accounts.host_ranking import Candidate
from app.accounts.host_warnings import WarningItem
from app.core.errors import TOO_MANY_RESPONSE, Problem, field_error, not_found
from app.core.identity import MAX_ID_LENGTH

router = APIRouter(tags=["Zoom integration"])
router.include_router(connect_api.router)

BASE = "/api/communities/{community}/integrations/zoom"
MAX_SYNCS_PER_HOUR = 60  # of one account; a sync reads every licensed user's settings from Zoom
AccountId = Annotated[UUID, Path(description="A connected account", examples=["5a0c3ab2-54ab-4b1c-86f4-8a5a5e5c0d4e"])]
HostId = Annotated[UUID, Path(description="A host", examples=["0b8e8a3e-6f0e-4b4e-9d0b-0a2f6b1f0c11"])]
StartsAt = Annotated[AwareDatetime | None, Query(description="Start of the event", examples=["2026-11-25T11:00:00Z"])]
EndsAt = Annotated[AwareDatetime | None, Query(description="End of the event", examples=["2026-11-25T12:00:00Z"])]
ExcludedEvent = Annotated[UUID | None, Query(description="The event being edited: its own time does not count as busy")]
PeopleExpected = Annotated[
    int | None,
    Query(ge=1, le=1_000_000, description="How many people there is to be room for", examples=[25]),
]


class HostChoice(web.Schema):
    """A host one can pick for an event."""

    id: UUID = Field(examples=["0b8e8a3e-6f0e-4b4e-9d0b-0a2f6b1f0c11"])
    account_id: UUID = Field(examples=["5a0c3ab2-54ab-4b1c-86f4-8a5a5e5c0d4e"])
    name: str = Field(examples=["Rita Rivers"])
    email: str | None = Field(description="For admins only", examples=["rita@riverside.example"])
    licensed: bool = Field(examples=[True])
    capacity: int | None = Field(description="People a meeting takes; null until Zoom has said", examples=[300])
    can_register: bool = Field(description="Whether members get personal links", examples=[True])
    available: bool = Field(description="Whether an event at that time can have this host", examples=[True])
    quota_left: int = Field(description="Meetings Zoom still makes or changes for this host today", examples=[100])
    reason: str | None = Field(description="What speaks against this host, the worst of it", examples=[None])
    warnings: list[WarningItem] = Field(
        description="What such an event does not get from this host, which can hold it all the same", examples=[[]]
    )
    member_id: str | None = Field(description="The member whose host this is", examples=["member-7"])


class HostOwner(web.Schema):
    """The member whose host it is."""

    member_id: str | None = Field(
        min_length=1,
        max_length=MAX_ID_LENGTH,
        pattern=web.NO_CONTROL_CHARS,
        description="A member's id, or null for nobody",
        examples=["member-7"],
    )


class WebhookSecret(web.Schema):
    """The secret token of the account's own event subscription at Zoom."""

    secret: str | None = Field(
        min_length=8,
        max_length=256,
        pattern=r"^[\x21-\x7e]*$",
        description="Null takes it away again, and the one before it too",
        examples=["aVerySecretToken"],
    )


@router.get(BASE, summary="The Zoom card")
async def zoom_integration(
    admin: web.Admin, resources: web.ResourcesDep, tx: web.Tx
) -> integration_view.IntegrationCard:
    """Whether Zoom is set up on this instance, and the community's connected accounts."""
    return await integration_view.integration_card(
        tx, admin.community_id, configured=resources.settings.zoom_configured
    )


@router.get(f"{BASE}/hosts", summary="Hosts to pick from")
async def zoom_hosts(
    staff: web.Staff,
    tx: web.Tx,
    starts_at: StartsAt = None,
    ends_at: EndsAt = None,
    capacity: PeopleExpected = None,
    exclude_event_id: ExcludedEvent = None,
    limit: web.Limit = 50,
    cursor: web.Cursor = None,
) -> web.Page[HostChoice]:
    """Every host of every connected account, the best first.

    With both times the answer says which hosts are busy then, and whose meetings Zoom would end too soon. With a
    capacity it says whose meetings are too small.
    """
    if starts_at is None and ends_at is not None:
        raise field_error("starts_at", "is needed together with ends_at")
    if starts_at is not None and ends_at is None:
        raise field_error("ends_at", "is needed together with starts_at")
    if starts_at is not None and ends_at is not None and ends_at <= starts_at:
        raise field_error("ends_at", "must be after starts_at")
    if exclude_event_id is not None and not await hosts.has_community_event(tx, staff.community_id, exclude_event_id):
        raise field_error("exclude_event_id", "is not an event of this community")
    await hosts.claim_by_email(tx, staff.community_id, staff.caller)
    offered = await hosts.candidates(
        tx, staff.community_id, starts_at, ends_at, exclude_event_id, staff.caller.member_id, capacity
    )
    shown, more = _page(offered, limit, cursor)
    items = [_host_choice(host, with_email=staff.is_admin) for host in shown]
    return web.Page[HostChoice](items=items, next_cursor=more)


def _host_choice(host: Candidate, *, with_email: bool) -> HostChoice:
    return HostChoice(
        id=host.host_id,
        account_id=host.account_id,
        name=host.name,
        email=host.email if with_email else None,
        licensed=host.licensed,
        capacity=host.capacity,
        can_register=host.can_register,
        available=host.available,
        quota_left=host.quota_left,
        reason=host.reason,
        warnings=host.warnings,
        member_id=host.member_id,
    )


def _page(offered: Sequence[Candidate], limit: int, cursor: str | None) -> tuple[Sequence[Candidate], str | None]:
    """Return `limit` hosts after the one the cursor names, and the cursor of the next page."""
    ids = [str(host.host_id) for host in offered]
    if cursor is not None and cursor not in ids:
        raise field_error("cursor", "is not a cursor of this list")
    start = ids.index(cursor) + 1 if cursor else 0
    end = start + limit
    return offered[start:end], ids[end - 1] if end < len(ids) else None


@router.put(f"{BASE}/hosts/{{host_id}}/member", summary="Say whose host it is")
async def assign_zoom_host(admin: web.Admin, host_id: HostId, body: HostOwner, tx: web.Tx) -> integration_view.HostCard:
    """Assign the host to a member, who can then start its meetings.

    Without this, a host belongs to the member with its verified e-mail.
    """
    host = await hosts.get_in_community(tx, admin.community_id, host_id)
    if host is None:
        raise not_found("host")
    await hosts.assign(tx, host, body.member_id, admin.caller.member_id)
    return (await integration_view.host_cards(tx, [host]))[host.id]


@router.post(
    f"{BASE}/accounts/{{account_id}}/sync",
    summary="Read hosts and settings again",
    status_code=202,
    responses={429: {"description": TOO_MANY_RESPONSE}},
)
async def sync_zoom_account(admin: web.Admin, account_id: AccountId, tx: web.Tx) -> Response:
    """Request a read of the account; the card shows the result in a moment.

    Jobs that wait for the connection, or were given up, are tried again too.
    """
    account = await service.get_in_community(tx, admin.community_id, account_id)
    if account.status != "connected":
        raise Problem("needs-reauth", "Zoom no longer accepts this connection. Connect the account again.")
    too_many = "This account was read again very often: wait a while."
    await quotas.consume_hourly(tx, f"sync:{account.id}", MAX_SYNCS_PER_HOUR, too_many)
    tx.record(commands.ReadAccount(account.id))
    tx.run_now(str(account.id))
    tx.resume_queue(str(account.id))
    tx.revive_queue(str(account.id))
    return Response(status_code=202)


@router.put(f"{BASE}/accounts/{{account_id}}/webhook-secret", summary="Set the account's own webhook secret")
async def set_zoom_webhook_secret(
    admin: web.Admin, account_id: AccountId, body: WebhookSecret, resources: web.ResourcesDep, tx: web.Tx
) -> integration_view.WebhookCard:
    """Set the secret of an account that has an event subscription of its own.

    That subscription's endpoint is `/api/integrations/zoom/webhooks/{account_id}`. The secret is valid for this account
    only, and is never shown. The secret it replaces stays valid for another 24 hours, so that no notification is lost:
    enter the new one here first, then at Zoom.
    """
    account = await service.lock_in_community(tx, admin.community_id, account_id)
    if body.secret is None:
        webhook_secrets.erase(account)
    else:
        webhook_secrets.replace(account, resources.encryption, body.secret, tx.now)
    return integration_view.webhook_card(account, tx.now)


@router.get(f"{BASE}/accounts/{{account_id}}/preflight", summary="What would go wrong before it does")
async def zoom_preflight(admin: web.Admin, account_id: AccountId, tx: web.Tx) -> preflight.Preflight:
    """Permissions, licences, daily limits, notifications, recording and livestream, as last read."""
    account = await service.get_in_community(tx, admin.community_id, account_id)
    offered = [host for host in await hosts.candidates(tx, admin.community_id) if host.account_id == account.id]
    card = (await integration_view.account_cards(tx, [account]))[0]
    return preflight.preflight(account, offered, can_record=integration_view.can_record(account, card.hosts))


@router.delete(f"{BASE}/accounts/{{account_id}}", summary="Disconnect", status_code=204)
async def disconnect_zoom_account(
    admin: web.Admin, account_id: AccountId, resources: web.ResourcesDep, tx: web.Tx
) -> None:
    """Disconnect the account. Its tokens cannot be used any more and are revoked at Zoom.

    Hosts and webhook secret are erased. Events and their history stay. People who want to join see "Meeting
    unavailable".
    """
    await service.disconnect(tx, resources, await service.get_in_community(tx, admin.community_id, account_id))
