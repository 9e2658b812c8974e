"""Hosts of accounts: updates them from Zoom, finds, checks and offers them, assigns them to members."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from app.accounts import quotas
from app.accounts.account_snapshot import AccountSnapshot
from app.accounts.host_ranking import Candidate, ranked
from app.accounts.models import Account, Host
from app.clients.zoom import LICENSED, User
from app.core import database, logs
from app.core.errors import field_error
from app.core.identity import Caller
from app.core.text_cleaning import single_line
from app.facts import HostsChanged

BASIC = 1  # a `User.type`: may hold meetings, without registration; 4 and 99 may not
MAX_FREE_HOSTS = 10  # how many hosts are offered in place of a busy one
EQUAL_EMAIL = "equal-email"  # the value of `member_set_by` if no admin but the e-mail decided whose host it is
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
    """Return the SQL condition under which a member is a host. This is the only rule for it.

    The host is assigned to the member, or has one of the member's e-mail addresses and nobody has decided whose host it
    is. `host` is a table; `member` and `addresses` are SQL expressions. The addresses must be verified, or null.
    """
    lowered = ", ".join(f"lower({address})" for address in addresses)
    by_address = f"{host}.member_set_by IS NULL AND lower({host}.email) IN ({lowered})"
    return f"coalesce({host}.member_id = {member} OR ({by_address}), false)"


async def update_from_snapshot(tx: database.Tx, account: Account, snapshot: AccountSnapshot) -> None:
    """Make the account's hosts equal to the snapshot. A missing or inactive host stays, but unlisted.

    Records HostsChanged if meetings of a known host may need other settings now.
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
            missing.listed = False
            missing.name = missing.name or ""
    if any(_capabilities(host) != capabilities for host, capabilities in capabilities_before.items()):
        tx.record(HostsChanged(account.id))


def _capabilities(host: Host) -> tuple[bool, bool, bool]:
    """Return what the host's meetings can have, and whether the host can hold them at all."""
    return host.listed, host.licensed, host.licensed and host.cloud_recording is not False


def _update_host(host: Host, user: User, snapshot: AccountSnapshot) -> None:
    if host.member_set_by == EQUAL_EMAIL and user.email and (host.email or "").casefold() != user.email.casefold():
        # The Zoom user now belongs to another person, so the member with the old e-mail may not start its meetings.
        host.member_id = host.member_set_by = host.member_set_at = None
        log.info("host has another e-mail, and is nobody's", host_id=str(host.id))
    host.email = user.email or None
    host.name = single_line(user.display_name or f"{user.first_name} {user.last_name}")
    host.listed = user.status == "active" and user.type in {BASIC, LICENSED}
    # A user who cannot hold meetings at present keeps their licence here. Otherwise their meetings would lose
    # registration and open to everybody, for no gain.
    if host.listed or host.licensed is None:
        host.licensed = user.licensed
    settings = snapshot.settings.get(user.id)
    if settings is not None:
        host.capacity = settings.feature.meeting_capacity
        host.cloud_recording = settings.recording.cloud_recording


async def anonymize(tx: database.Tx, account_id: UUID) -> None:
    """Erase everything about an account's hosts except their ids, which history and a reconnect need."""
    await tx.execute(
        "UPDATE hosts SET email = NULL, name = NULL, capacity = NULL, cloud_recording = NULL, listed = false,"
        " member_id = NULL, member_set_by = NULL, member_set_at = NULL WHERE account_id = :account_id",
        account_id=account_id,
    )


async def get(tx: database.Tx, host_id: UUID) -> Host | None:
    """Return the host with that id, whatever the state of its account."""
    return await tx.session.get(Host, host_id)


async def get_in_community(tx: database.Tx, community_id: str, host_id: UUID) -> Host | None:
    """Return the community's listed host with that id, if its account's grant reaches it."""
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


async def require_usable(tx: database.Tx, community_id: str, host_id: UUID, field: str = "host_id") -> Host:
    """Return the host if a new event of the community can have it. Raises a 422 that names `field`."""
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
    tx: database.Tx,
    community_id: str,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    exclude_event_id: UUID | None = None,
    member_id: str | None = None,
    people: int | None = None,
) -> list[Candidate]:
    """Return every listed host that the community's accounts can act for, the best first.

    With both times the result says which are busy. `exclude_event_id` is the event being edited, `member_id` the member
    whose own hosts come first, `people` the number of people expected.
    """
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


async def has_community_event(tx: database.Tx, community_id: str, event_id: UUID) -> bool:
    """Return whether an event belongs to the community and is not deleted."""
    statement = "SELECT 1 FROM events WHERE id = :id AND community_id = :community_id AND deleted_at IS NULL"
    return (await tx.execute(statement, id=event_id, community_id=community_id)).scalar() is not None


async def free_hosts(
    tx: database.Tx, community_id: str, starts_at: datetime, ends_at: datetime, exclude_event_id: UUID | None = None
) -> list[Host]:
    """Return the best hosts of the community that are free at that time, at most ten, the best first."""
    ranked_hosts = await candidates(tx, community_id, starts_at, ends_at, exclude_event_id)
    free_ids = [candidate.host_id for candidate in ranked_hosts if candidate.available][:MAX_FREE_HOSTS]
    rows = {host.id: host for host in await tx.session.scalars(select(Host).where(Host.id.in_(free_ids)))}
    return [rows[host_id] for host_id in free_ids]


async def claim_by_email(tx: database.Tx, community_id: str, caller: Caller) -> None:
    """Assign the hosts with the caller's verified e-mail to the caller, unless somebody has decided."""
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


async def assign(tx: database.Tx, host: Host, member_id: str | None, by: str) -> None:
    """Assign the host to a member, or with None to nobody. `by` is the admin who decides, and is stored."""
    host.member_id = member_id
    host.member_set_by = by
    host.member_set_at = tx.now
    log.info("host assigned", host_id=str(host.id), member_id=member_id, by=by)
