"""Zoom users of the connected accounts who can own meetings: kept equal to Zoom, chosen from, matched with members."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from app.accounts import quotas
from app.accounts.account_snapshot import AccountSnapshot
from app.accounts.host_ranking import Candidate, ranked
from app.accounts.models import Account, Host
from app.clients.zoom import LICENSED, User
from app.core import db, logs
from app.core.errors import field_error
from app.core.identity import Caller
from app.core.text_cleaning import single_line
from app.facts import HostsChanged

BASIC = 1  # `User.type`: may hold meetings, without registration; 4 and 99 may not
MAX_FREE_HOSTS = 10  # hosts offered in place of one that is busy
EQUAL_EMAIL = "equal-email"  # instead of the admin who said whose host it is
log = logs.get("accounts")

_CANDIDATES = """
SELECT hosts.id AS host_id, hosts.account_id, coalesce(hosts.name, '') AS name, coalesce(hosts.email, '') AS email,
    hosts.licensed, hosts.capacity, hosts.member_id, accounts.status = 'connected' AS connected,
    CAST(:starts_at AS timestamptz) IS NOT NULL AND EXISTS (
        SELECT 1 FROM reservations
        WHERE key = 'host:' || hosts.zoom_user_id AND during && tstzrange(:starts_at, :ends_at)
          AND event_id IS DISTINCT FROM CAST(:exclude_event_id AS uuid)
    ) AS busy,
    greatest(0, :limit - coalesce(quota_usage.used, 0)) AS quota_left,
    coalesce(hosts.member_id = CAST(:member_id AS text), false) AS is_own
FROM hosts JOIN accounts ON accounts.id = hosts.account_id
    LEFT JOIN quota_usage ON quota_usage.key = 'host:' || hosts.zoom_user_id AND quota_usage.day = :day
WHERE accounts.community_id = :community_id AND accounts.status <> 'disconnected' AND hosts.listed
    AND accounts.user_scope IN ('', hosts.zoom_user_id)
"""


def is_host_sql(host: str, member: str, *addresses: str) -> str:
    """The one rule by which a member is a host, as SQL: the host is assigned to them, or has an e-mail address of
    theirs and nobody has decided whose it is. `host` is a table, `member` and `addresses` are expressions; only
    verified addresses may be given, and null where there is none."""
    lowered = ", ".join(f"lower({address})" for address in addresses)
    by_address = f"{host}.member_set_by IS NULL AND lower({host}.email) IN ({lowered})"
    return f"coalesce({host}.member_id = {member} OR ({by_address}), false)"


async def update_from_snapshot(tx: db.Tx, account: Account, snapshot: AccountSnapshot) -> None:
    """Make the account's hosts equal to what was read. Whoever is missing or inactive is no longer listed, but kept.

    Records HostsChanged where meetings of a host we knew may want something else now.
    """
    rows = await tx.session.scalars(select(Host).where(Host.account_id == account.id))
    unmatched = {host.zoom_user_id: host for host in rows}
    capabilities_before = {host: _capabilities(host) for host in unmatched.values()}
    for user in snapshot.users:
        host = unmatched.pop(user.id, None)
        if host is None:
            host = Host(account_id=account.id, zoom_user_id=user.id)
            tx.session.add(host)
        _update_host(host, user, snapshot)
    if snapshot.complete:
        for missing in unmatched.values():
            missing.listed, missing.name = False, missing.name or ""
    if any(_capabilities(host) != capabilities for host, capabilities in capabilities_before.items()):
        tx.record(HostsChanged(account.id))


def _capabilities(host: Host) -> tuple[bool, bool, bool]:
    """What a meeting can have because of its host, and whether its host can hold it at all."""
    return host.listed, host.licensed, host.licensed and host.cloud_recording is not False


def _update_host(host: Host, user: User, snapshot: AccountSnapshot) -> None:
    if host.member_set_by == EQUAL_EMAIL and user.email and (host.email or "").casefold() != user.email.casefold():
        # The seat has been handed on, so whose e-mail it was before starts its meetings no more.
        host.member_id = host.member_set_by = host.member_set_at = None
        log.info("host has another e-mail, and is nobody's", host_id=str(host.id))
    host.email = user.email or None
    host.name = single_line(user.display_name or f"{user.first_name} {user.last_name}")
    host.listed = user.status == "active" and user.type in {BASIC, LICENSED}
    # Who cannot hold meetings for now keeps theirs as they are: nothing is gained by opening them to everybody.
    if host.listed or host.licensed is None:
        host.licensed = user.licensed
    settings = snapshot.settings.get(user.id)
    if settings is not None:
        host.capacity = settings.feature.meeting_capacity
        host.cloud_recording = settings.recording.cloud_recording


async def anonymize(tx: db.Tx, account_id: UUID) -> None:
    """Keep of an account's hosts only which Zoom users they are, so that history and a reconnect find them."""
    await tx.execute(
        "UPDATE hosts SET email = NULL, name = NULL, capacity = NULL, cloud_recording = NULL, listed = false,"
        " member_id = NULL, member_set_by = NULL, member_set_at = NULL WHERE account_id = :account_id",
        account_id=account_id,
    )


async def get(tx: db.Tx, host_id: UUID) -> Host | None:
    """The host with that id, whatever became of its account."""
    return await tx.session.get(Host, host_id)


async def get_in_community(tx: db.Tx, community_id: str, host_id: UUID) -> Host | None:
    """The listed host of the community with that id, if its account's grant reaches it."""
    host: Host | None = await tx.session.scalar(
        select(Host)
        .join(Account, Account.id == Host.account_id)
        .where(
            Host.id == host_id,
            Host.listed,
            Account.community_id == community_id,
            Account.status != "disconnected",
            Account.user_scope.in_(["", Host.zoom_user_id]),
        )
    )
    return host


async def require_usable(tx: db.Tx, community_id: str, host_id: UUID, field: str = "host_id") -> Host:
    """The host, if an event of the community can be given it now; else a 422 that names `field`."""
    host = await get(tx, host_id)
    account = await tx.session.get(Account, host.account_id) if host else None
    if host is None or account is None or account.community_id != community_id or account.status == "disconnected":
        raise field_error(field, "is no Zoom host of this community")
    if account.status != "connected":
        raise field_error(field, "belongs to a Zoom account that must be connected again first")
    if not host.listed:
        raise field_error(field, "can no longer hold meetings: this Zoom user was deactivated or removed")
    if account.user_scope not in {"", host.zoom_user_id}:
        raise field_error(field, "is another Zoom user than the one who connected, whom alone this connection reaches")
    return host


async def candidates(
    tx: db.Tx,
    community_id: str,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    exclude_event_id: UUID | None = None,
    member_id: str | None = None,
    people: int | None = None,
) -> list[Candidate]:
    """Every listed host the community's accounts can act for, the best first; busy ones where both times are given.
    `exclude_event_id` is the event being edited, `member_id` whose own hosts come first, `people` how many may come."""
    duration = ends_at - starts_at if starts_at and ends_at else None
    found = await tx.execute(
        _CANDIDATES,
        community_id=community_id,
        starts_at=starts_at,
        ends_at=ends_at,
        exclude_event_id=exclude_event_id,
        member_id=member_id,
        day=quotas.utc_day(tx.now),
        limit=quotas.MEETINGS_PER_HOST,
    )
    return ranked(Candidate(**row, duration=duration, people=people) for row in found.mappings())


async def has_community_event(tx: db.Tx, community_id: str, event_id: UUID) -> bool:
    """Whether an event is one of the community's; a deleted one is none any more."""
    statement = "SELECT 1 FROM events WHERE id = :id AND community_id = :community_id AND deleted_at IS NULL"
    return (await tx.execute(statement, id=event_id, community_id=community_id)).scalar() is not None


async def free_hosts(
    tx: db.Tx, community_id: str, starts_at: datetime, ends_at: datetime, exclude_event_id: UUID | None = None
) -> list[Host]:
    """The best of the community's hosts that can be had at that time, the best first; the picker lists them all."""
    ranked_hosts = await candidates(tx, community_id, starts_at, ends_at, exclude_event_id)
    free_ids = [candidate.host_id for candidate in ranked_hosts if candidate.available][:MAX_FREE_HOSTS]
    rows = {host.id: host for host in await tx.session.scalars(select(Host).where(Host.id.in_(free_ids)))}
    return [rows[host_id] for host_id in free_ids]


async def claim_by_email(tx: db.Tx, community_id: str, caller: Caller) -> None:
    """Make the hosts that have the caller's verified e-mail the caller's, unless somebody has decided otherwise."""
    if not caller.email or not caller.email_verified:
        return
    claimed = await tx.execute(
        "UPDATE hosts SET member_id = :member_id, member_set_by = :by, member_set_at = :now FROM accounts"
        " WHERE accounts.id = hosts.account_id AND accounts.community_id = :community_id AND hosts.listed"
        " AND lower(hosts.email) = lower(:email) AND hosts.member_set_by IS NULL RETURNING hosts.id",
        member_id=caller.member_id,
        by=EQUAL_EMAIL,
        now=tx.now,
        community_id=community_id,
        email=caller.email,
    )
    for host_id in claimed.scalars():
        log.info("host matched by e-mail", host_id=str(host_id), member_id=caller.member_id)


async def assign(tx: db.Tx, host: Host, member_id: str | None, by: str) -> None:
    """Say whose host this is, or with None that it is nobody's; `by` is the admin who says so, and is kept."""
    host.member_id, host.member_set_by, host.member_set_at = member_id, by, tx.now
    log.info("host assigned", host_id=str(host.id), member_id=member_id, by=by)
