"""Finds, stores, updates and disconnects accounts, in the caller's transaction.

Nothing here calls Zoom.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select

from app import facts
from app.accounts import hosts, reservations, token_store, webhook_secrets
from app.accounts.account_snapshot import AccountSnapshot
from app.accounts.models import Account
from app.clients.zoom import Token, is_admin_grant
from app.core import database, logs
from app.core.errors import Problem, not_found
from app.resources import Resources
from app.web import CommunityMembership

READ_JOB = "accounts.read"  # the job that reads an account from Zoom
log = logs.get("accounts")


async def get(tx: database.Tx, account_id: UUID) -> Account | None:
    """Return the account with that id, even if it is disconnected."""
    return await tx.session.get(Account, account_id)


async def list_by_zoom_account(tx: database.Tx, zoom_account_id: str) -> list[Account]:
    """Return our accounts of that Zoom account that are not disconnected."""
    found = await tx.session.scalars(
        select(Account).where(Account.zoom_account_id == zoom_account_id, Account.status != "disconnected")
    )
    return list(found)


async def get_in_community(tx: database.Tx, community_id: str, account_id: UUID) -> Account:
    """Return the community's account, if it is not disconnected. Raises a 404 for every other."""
    account = await get(tx, account_id)
    if account is None or account.community_id != community_id or account.status == "disconnected":
        raise not_found("account")
    return account


async def lock_in_community(tx: database.Tx, community_id: str, account_id: UUID) -> Account:
    """Return the account like `get_in_community`, locked until the transaction ends."""
    await tx.session.get(Account, account_id, with_for_update={"key_share": True}, populate_existing=True)
    return await get_in_community(tx, community_id, account_id)


async def store_connection(
    tx: database.Tx, resources: Resources, membership: CommunityMembership, token: Token, snapshot: AccountSnapshot
) -> Account:
    """Store a new grant: in a new account, or in the community's existing row with all its history.

    Raises the problem `account-connected-elsewhere` if another community has the account. The new tokens are then only
    dropped, not revoked. To Zoom they belong to the same permission of the same user, and revoking them could end the
    other community's grant.
    """
    me = snapshot.me
    zoom_account_id = me.account_id or ""
    user_scope = "" if is_admin_grant(token.scope) else me.id
    # If two people finish the connect of one Zoom account at the same time, one waits for the other.
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", name=f"zoom-account:{zoom_account_id}")
    rows = await _find_connections(tx, zoom_account_id, user_scope, me.id)
    if any(row.community_id != membership.community_id and row.status != "disconnected" for row in rows):
        raise Problem(
            "account-connected-elsewhere",
            "This Zoom account is already connected to another community. Disconnect it there first.",
        )
    own_rows = [row for row in rows if row.community_id == membership.community_id]
    account = next((row for row in own_rows if row.user_scope == user_scope), own_rows[0] if own_rows else None)
    if account is None:
        account = Account(community_id=membership.community_id, zoom_account_id=zoom_account_id)
        tx.session.add(account)
    else:
        await token_store.lock(tx, account.id)
        await tx.session.refresh(account, with_for_update={"key_share": True})
    account.zoom_user_id = me.id
    account.user_scope = user_scope
    account.status = "connected"
    account.reason = None
    account.token_error = None
    account.disconnected_at = None
    account.scopes = sorted(token.scope)
    account.connected_by = membership.caller.member_id
    account.connected_at = tx.now
    await tx.session.flush()
    await token_store.store_tokens(
        tx, resources.encryption, account.id, token, resources.zoom.api_origin(token.api_url)
    )
    await apply_snapshot(tx, account, snapshot)
    await reservations.resume(tx, account.id)
    await hosts.claim_by_email(tx, membership.community_id, membership.caller)
    tx.record(facts.AccountConnected(account.id))
    tx.resume_queue(str(account.id))
    tx.revive_queue(str(account.id))
    log.info("account connected", account_id=str(account.id), by=membership.caller.member_id)
    return account


async def _find_connections(tx: database.Tx, zoom_account_id: str, user_scope: str, zoom_user_id: str) -> list[Account]:
    """Return the rows of the same connection, in any community.

    A row counts if it has the same `user_scope`, or if the same user connected before with another one.
    """
    found = await tx.session.scalars(
        select(Account).where(
            Account.zoom_account_id == zoom_account_id,
            or_(Account.user_scope == user_scope, Account.zoom_user_id == zoom_user_id),
        )
    )
    return list(found)


async def apply_snapshot(tx: database.Tx, account: Account, snapshot: AccountSnapshot) -> None:
    """Store what Zoom reported about the account and its hosts."""
    await tx.session.refresh(account, with_for_update={"key_share": True})
    own_settings = snapshot.settings.get(snapshot.me.id)
    account.email = snapshot.me.email or None
    if own_settings is not None:
        streaming = (
            own_settings.in_meeting.allow_live_streaming and own_settings.in_meeting.custom_live_streaming_service
        )
        account.settings = {"cloud_recording": own_settings.recording.cloud_recording, "livestream": streaming}
    account.read_at = tx.now
    await hosts.update_from_snapshot(tx, account, snapshot)
    await tx.session.flush()


async def is_being_read(tx: database.Tx, account_id: UUID) -> bool:
    """Return whether a worker is reading the account right now.

    A request that arrives meanwhile makes the job run once more as soon as this run has ended.
    """
    running = await tx.execute(
        "SELECT EXISTS (SELECT FROM outbox WHERE job = :job AND key = :key AND lease IS NOT NULL"
        " AND claimed_until > clock_timestamp())",
        job=READ_JOB,
        key=str(account_id),
    )
    return bool(running.scalar_one())


async def disconnect(tx: database.Tx, resources: Resources, account: Account) -> None:
    """Disconnect the account here at once, and queue the revocation of its tokens at Zoom.

    Events and meetings stay.
    """
    await token_store.lock(tx, account.id)
    await token_store.queue_revocation(tx, resources.encryption, account.id)
    await _mark_disconnected(tx, account, None)


async def handle_deauthorization(
    tx: database.Tx, zoom_account_id: str, zoom_user_id: str, at: datetime, signed_by: UUID | None
) -> list[Account]:
    """Disconnect the accounts whose user removed the app inside Zoom at `at`, and return them.

    There is nothing to revoke. A connection made later than `at` stays. Nothing happens if an account's own secret
    signed the notification (`signed_by`): Zoom signs this one with the app's secret, so the sender must be somebody who
    knows the account's.
    """
    if signed_by is not None:
        return []
    disconnected = []
    for account in await list_by_zoom_account(tx, zoom_account_id):
        if account.zoom_user_id == zoom_user_id and account.connected_at <= at:
            await token_store.lock(tx, account.id)
            await token_store.delete_tokens(tx, account.id)
            await _mark_disconnected(tx, account, "The app was removed inside Zoom.")
            disconnected.append(account)
    return disconnected


async def _mark_disconnected(tx: database.Tx, account: Account, reason: str | None) -> None:
    await tx.session.refresh(account, with_for_update={"key_share": True})
    if account.status == "disconnected":
        return
    account.status = "disconnected"
    account.reason = reason
    account.token_error = None
    account.disconnected_at = tx.now
    account.email = None
    account.settings = {}
    account.scopes = []
    webhook_secrets.erase(account)
    await hosts.anonymize(tx, account.id)
    await reservations.suspend(tx, account.id)
    tx.record(facts.AccountDisconnected(account.id))
    log.info("account disconnected", account_id=str(account.id), deauthorized=reason is not None)
