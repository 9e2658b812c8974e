"""Jobs about accounts: reading them from Zoom at least daily, revoking tokens, deleting expired rows."""

from datetime import datetime, timedelta

from sqlalchemy import select

from app import commands
from app.accounts import grants, quotas, revocations, service, webhook_secrets
from app.accounts.account_snapshot import fetch
from app.accounts.models import Account
from app.clients.zoom import AppMisconfigured, NeedsReauth
from app.core import logs
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.resources import Resources

# Notifications may get lost, so every account is read again after this time.
MAX_SNAPSHOT_AGE = timedelta(days=1)
log = logs.get("accounts")


async def read_account(job: JobContext[Resources]) -> None:
    """Read an account from Zoom (profile, settings, all pages of users) and store what changed."""
    async with job.read_only() as tx:
        account = await service.get(tx, job.id)
    if account is None or account.status == "disconnected":
        return
    client = await grants.client_for(job.resources, job.id)
    snapshot = await fetch(client, account.scopes, everyone=True)
    async with job.complete() as tx:
        current = await tx.session.get_one(Account, job.id, with_for_update={"key_share": True})
        # If the account was disconnected or connected again while Zoom answered, the snapshot is of another grant.
        if current.status != "disconnected" and current.connected_at == account.connected_at:
            await service.apply_snapshot(tx, current, snapshot)


async def revoke(job: JobContext[Resources]) -> None:
    """Revoke a disconnected account's tokens at Zoom. A token that Zoom does not know counts as revoked."""
    encryption = job.resources.encryption
    oauth = job.resources.zoom.oauth
    async with job.read_only() as tx:
        revocation = await revocations.get_pending(tx, encryption, job.id)
        now = tx.now
    if revocation is None:
        return
    access_token, expires_at = revocation.access_token, revocation.expires_at
    if not revocation.superseded and now < revocation.created_at + revocations.MAX_AGE:
        # Zoom might not recognise an expired access token, and leave the grant alive.
        if now >= revocation.expires_at:
            access_token, expires_at = await _refresh_for_revocation(job, revocation)
        try:
            await oauth.revoke(access_token)
        except AppMisconfigured as error:
            raise RetryLater(str(error)) from None
        except NeedsReauth:
            log.info("tokens were of no use any more", revocation_id=job.key)
    async with job.complete() as tx:
        await revocations.delete(tx, job.id, expires_at)


async def _refresh_for_revocation(
    job: JobContext[Resources], revocation: revocations.PendingRevocation
) -> tuple[str, datetime]:
    """Return a new access token for a grant whose own has expired, and when the new one expires.

    Returns the expired one if Zoom gives none: a lost answer may have contained another, and Zoom may still know the
    old one.
    """
    try:
        token = await job.resources.zoom.oauth.refresh(revocation.refresh_token)
    except AppMisconfigured as error:
        raise RetryLater(str(error)) from None
    except NeedsReauth:
        return revocation.access_token, revocation.expires_at
    # The old tokens are spent, so the new ones must be stored even if this job has lost its lease.
    async with job.unfenced() as tx:
        expires_at = await revocations.replace_tokens(
            tx, job.resources.encryption, job.id, revocation.account_id, token
        )
    return token.access_token, expires_at


async def cleanup(job: JobContext[Resources]) -> None:
    """Delete expired rows: connects, revocations, replaced secrets, idempotency keys and quota usage."""
    async with job.complete() as tx:
        await tx.execute("UPDATE connects SET code = NULL WHERE code IS NOT NULL AND expires_at <= :now", now=tx.now)
        # A connect stays for a day, so that a browser that comes back late gets a message in its community.
        await tx.execute("DELETE FROM connects WHERE expires_at <= :before", before=tx.now - timedelta(days=1))
        await tx.execute("DELETE FROM revocations WHERE created_at <= :before", before=tx.now - revocations.MAX_AGE)
        await tx.execute("DELETE FROM idempotency_keys WHERE created_at <= :before", before=tx.now - timedelta(days=1))
        await webhook_secrets.erase_expired(tx)
        await tx.execute("DELETE FROM quota_usage WHERE day < :today", today=quotas.utc_day(tx.now))


async def reread_stale(job: JobContext[Resources]) -> None:
    """Request a read of every connected account that was not read for a day."""
    async with job.complete() as tx:
        stale = await tx.session.scalars(
            select(Account.id).where(Account.status == "connected", Account.read_at <= tx.now - MAX_SNAPSHOT_AGE)
        )
        for account_id in stale:
            tx.record(commands.ReadAccount(account_id))
