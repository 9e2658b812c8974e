"""Ends what a member has in a community they leave, across packages, in the caller's transaction."""

from sqlalchemy import select

from app.accounts import hosts
from app.accounts.models import Account, Host
from app.core import audit, database, logs, memberships
from app.registrations import leave_community
from app.registrations.models import is_guest

log = logs.get("privacy")


async def leave(tx: database.Tx, community_id: str, member_id: str, by: str) -> None:
    """Take a member out of a community. `by` is the member id of the caller.

    Tokens issued until now are refused there, registrations for future events end, and hosts lose their member. Changes
    of registrants, invites and tickets follow from the registrations. Twice is harmless, also for an unknown member.
    """
    # The membership comes first: answering an event locks this row and then the event, so the order must be the same.
    if not is_guest(member_id):
        await memberships.leave(tx, community_id, member_id)
    ended = await leave_community.end_registrations(tx, community_id, member_id)
    rows = await tx.session.scalars(
        select(Host)
        .join(Account, Account.id == Host.account_id)
        .where(Account.community_id == community_id, Host.member_id == member_id)
        .order_by(Host.id)
        .with_for_update(of=Host)
    )
    member_hosts = rows.all()
    for host in member_hosts:
        await hosts.assign(tx, host, None, by)
    audit.record(tx, community_id, by, "member-left", member_id)
    log.info(
        "member left", community_id=community_id, member_id=member_id, by=by, answers=ended, hosts=len(member_hosts)
    )
