"""Reactions about accounts: reading them, revoking what was disconnected, and tidying up."""

from datetime import datetime, timedelta

from sqlalchemy import select

from app import facts
from app.accounts import budgets, grants, revocations, service, webhook_secrets
from app.accounts.models import Account
from app.accounts.reading import read
from app.clients.zoom import AppMisconfigured, NeedsReauth
from app.core import logs
from app.core.outbox import NotNow
from app.core.work import Work
from app.resources import Resources

STALE = timedelta(days=1)
log = logs.get("accounts")


async def read_account(work: Work[Resources]) -> None:
    """Make our picture of an account equal to Zoom: profile, settings, all pages of users."""
    async with work.reading() as tx:
        account = await service.get(tx, work.id)
    if account is None or account.status == "disconnected":
        return
    client = await grants.zoom(work.resources, work.id)
    reading = await read(client, account.scopes, everyone=True)
    async with work.done() as tx:
        present = await tx.session.get_one(Account, work.id, with_for_update={"key_share": True})
        # Disconnected, or connected by somebody else, while Zoom answered: that is not what was read.
        if present.status != "disconnected" and present.connected_at == account.connected_at:
            await service.observed(tx, present, reading)


async def revoke(work: Work[Resources]) -> None:
    """End at Zoom what was disconnected here; a token Zoom does not know any more is as good as revoked."""
    seal, oauth = work.resources.seal, work.resources.zoom.oauth
    async with work.reading() as tx:
        waiting = await revocations.waiting(tx, seal, work.id)
        now = tx.now
    if waiting is None:
        return
    access_token, ends = waiting.access_token, waiting.expires_at
    if not waiting.superseded and now < waiting.created_at + revocations.LIFE:
        # Zoom might not recognise an access token that ran out, and leave the grant alive.
        if now >= waiting.expires_at:
            access_token, ends = await _fresh(work, waiting)
        try:
            await oauth.revoke(access_token)
        except AppMisconfigured as error:
            raise NotNow(str(error)) from None
        except NeedsReauth:
            log.info("tokens were of no use any more", revocation_id=work.key)
    async with work.done() as tx:
        await revocations.end(tx, work.id, ends)


async def _fresh(work: Work[Resources], waiting: revocations.Waiting) -> tuple[str, datetime]:
    """An access token for a grant whose own ran out, and when it ends. The old one where Zoom gives none: the answer
    that brought another may have been lost, and Zoom may still know the old one."""
    try:
        token = await work.resources.zoom.oauth.refresh(waiting.refresh_token)
    except AppMisconfigured as error:
        raise NotNow(str(error)) from None
    except NeedsReauth:
        return waiting.access_token, waiting.expires_at
    # The former ones are spent, so these are kept whoever has the row by now.
    async with work.unfenced() as tx:
        ends = await revocations.renew(tx, work.resources.seal, work.id, waiting.account_id, token)
    return token.access_token, ends


async def tidy(work: Work[Resources]) -> None:
    """Delete what has served its time: connects, revocations, secrets that were replaced, answers kept for repeated
    requests, budgets."""
    async with work.done() as tx:
        await tx.run("UPDATE connects SET code = NULL WHERE code IS NOT NULL AND expires_at <= :now", now=tx.now)
        # Kept for a day, so that a browser that comes back late is told so and led to its community.
        await tx.run("DELETE FROM connects WHERE expires_at <= :before", before=tx.now - timedelta(days=1))
        await tx.run("DELETE FROM revocations WHERE created_at <= :before", before=tx.now - revocations.LIFE)
        await tx.run("DELETE FROM idempotency_keys WHERE created_at <= :before", before=tx.now - timedelta(days=1))
        await webhook_secrets.forget_former(tx)
        await tx.run("DELETE FROM budgets WHERE day < :today", today=budgets.day_of(tx.now))


async def reread_stale(work: Work[Resources]) -> None:
    """Ask for every connected account to be read that has not been for a day."""
    async with work.done() as tx:
        stale = await tx.session.scalars(
            select(Account.id).where(Account.status == "connected", Account.read_at <= tx.now - STALE)
        )
        for account_id in stale:
            tx.record(facts.AccountRefreshAsked(account_id))
