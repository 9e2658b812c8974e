"""Zoom users of the connected accounts who can own meetings: kept equal to Zoom, chosen from, matched with members."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from app.accounts import budgets
from app.accounts.models import Account, Host
from app.accounts.reading import Reading
from app.accounts.routing import Candidate, in_order
from app.clients.zoom import LICENSED, User
from app.core import db, logs
from app.core.cleaning import line
from app.core.errors import wrong_field
from app.core.identity import Caller
from app.facts import HostsChanged

BASIC = 1  # `User.type`: may hold meetings, without registration; 4 and 99 may not
BEST = 10  # hosts offered in place of one that is busy
EQUAL_EMAIL = "equal-email"  # instead of the admin who said whose host it is
log = logs.get("accounts")

_CANDIDATES = """
SELECT hosts.id AS host_id, hosts.account_id, coalesce(hosts.name, '') AS name, coalesce(hosts.email, '') AS email,
    hosts.licensed, hosts.capacity, hosts.member_id, accounts.status = 'connected' AS connected,
    CAST(:starts_at AS timestamptz) IS NOT NULL AND EXISTS (
        SELECT 1 FROM reservations
        WHERE subject = 'host:' || hosts.zoom_user_id AND during && tstzrange(:starts_at, :ends_at)
          AND event_id IS DISTINCT FROM CAST(:exclude_event_id AS uuid)
    ) AS busy,
    greatest(0, :limit - coalesce(budgets.used, 0)) AS budget_left,
    coalesce(hosts.member_id = CAST(:member_id AS text), false) AS mine
FROM hosts JOIN accounts ON accounts.id = hosts.account_id
    LEFT JOIN budgets ON budgets.subject = 'host:' || hosts.zoom_user_id AND budgets.day = :day
WHERE accounts.community_id = :community_id AND accounts.status <> 'disconnected' AND hosts.listed
    AND accounts.own_user_only IN ('', hosts.zoom_user_id)
"""


def recognised(host: str, member: str, *addresses: str) -> str:
    """The one rule by which a member is a host, as SQL: the host is assigned to them, or has an e-mail address of
    theirs and nobody has decided whose it is. `host` is a table, `member` and `addresses` are expressions; only
    verified addresses may be given, and null where there is none."""
    theirs = ", ".join(f"lower({address})" for address in addresses)
    by_address = f"{host}.member_set_by IS NULL AND lower({host}.email) IN ({theirs})"
    return f"coalesce({host}.member_id = {member} OR ({by_address}), false)"


async def apply(tx: db.Tx, account: Account, reading: Reading) -> None:
    """Make the account's hosts equal to what was read. Whoever is missing or inactive is no longer listed, but kept.

    Records HostsChanged where meetings of a host we knew may want something else now.
    """
    found = await tx.session.scalars(select(Host).where(Host.account_id == account.id))
    known = {host.zoom_user_id: host for host in found}
    before = {host: _abilities(host) for host in known.values()}
    for user in reading.users:
        host = known.pop(user.id, None)
        if host is None:
            host = Host(account_id=account.id, zoom_user_id=user.id)
            tx.session.add(host)
        _describe(host, user, reading)
    if reading.complete:
        for gone in known.values():
            gone.listed, gone.name = False, gone.name or ""
    if any(_abilities(host) != abilities for host, abilities in before.items()):
        tx.record(HostsChanged(account.id))


def _abilities(host: Host) -> tuple[bool, bool, bool]:
    """What a meeting can have because of its host, and whether its host can hold it at all."""
    return host.listed, host.licensed, host.licensed and host.cloud_recording is not False


def _describe(host: Host, user: User, reading: Reading) -> None:
    if host.member_set_by == EQUAL_EMAIL and user.email and (host.email or "").casefold() != user.email.casefold():
        # The seat has been handed on, so whose e-mail it was before starts its meetings no more.
        host.member_id = host.member_set_by = host.member_set_at = None
        log.info("host has another e-mail, and is nobody's", host_id=str(host.id))
    host.email = user.email or None
    host.name = line(user.display_name or f"{user.first_name} {user.last_name}")
    host.listed = user.status == "active" and user.type in {BASIC, LICENSED}
    # Who cannot hold meetings for now keeps theirs as they are: nothing is gained by opening them to everybody.
    if host.listed or host.licensed is None:
        host.licensed = user.licensed
    settings = reading.settings.get(user.id)
    if settings is not None:
        host.capacity = settings.feature.meeting_capacity
        host.cloud_recording = settings.recording.cloud_recording


async def forget(tx: db.Tx, account_id: UUID) -> None:
    """Keep of an account's hosts only which Zoom users they are, so that history and a reconnect find them."""
    await tx.run(
        "UPDATE hosts SET email = NULL, name = NULL, capacity = NULL, cloud_recording = NULL, listed = false,"
        " member_id = NULL, member_set_by = NULL, member_set_at = NULL WHERE account_id = :account_id",
        account_id=account_id,
    )


async def get(tx: db.Tx, host_id: UUID) -> Host | None:
    """The host with that id, whatever became of its account."""
    return await tx.session.get(Host, host_id)


async def inside(tx: db.Tx, community_id: str, host_id: UUID) -> Host | None:
    """The listed host of the community with that id, if its account's grant reaches it."""
    found: Host | None = await tx.session.scalar(
        select(Host)
        .join(Account, Account.id == Host.account_id)
        .where(
            Host.id == host_id,
            Host.listed,
            Account.community_id == community_id,
            Account.status != "disconnected",
            Account.own_user_only.in_(["", Host.zoom_user_id]),
        )
    )
    return found


async def usable(tx: db.Tx, community_id: str, host_id: UUID, field: str = "host_id") -> Host:
    """The host, if an event of the community can be given it now; else a 422 that names `field`."""
    host = await get(tx, host_id)
    account = await tx.session.get(Account, host.account_id) if host else None
    if host is None or account is None or account.community_id != community_id or account.status == "disconnected":
        raise wrong_field(field, "is no Zoom host of this community")
    if account.status != "connected":
        raise wrong_field(field, "belongs to a Zoom account that must be connected again first")
    if not host.listed:
        raise wrong_field(field, "can no longer hold meetings: this Zoom user was deactivated or removed")
    if account.own_user_only not in {"", host.zoom_user_id}:
        raise wrong_field(field, "is another Zoom user than the one who connected, whom alone this connection reaches")
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
    length = ends_at - starts_at if starts_at and ends_at else None
    found = await tx.run(
        _CANDIDATES,
        community_id=community_id,
        starts_at=starts_at,
        ends_at=ends_at,
        exclude_event_id=exclude_event_id,
        member_id=member_id,
        day=budgets.day_of(tx.now),
        limit=budgets.MEETINGS_PER_HOST,
    )
    return in_order(Candidate(**row, length=length, people=people) for row in found.mappings())


async def has_event(tx: db.Tx, community_id: str, event_id: UUID) -> bool:
    """Whether an event is one of the community's; a deleted one is none any more."""
    statement = "SELECT 1 FROM events WHERE id = :id AND community_id = :community_id AND deleted_at IS NULL"
    return (await tx.run(statement, id=event_id, community_id=community_id)).scalar() is not None


async def free_hosts(
    tx: db.Tx, community_id: str, starts_at: datetime, ends_at: datetime, exclude_event_id: UUID | None = None
) -> list[Host]:
    """The best of the community's hosts that can be had at that time, the best first; the picker lists them all."""
    offered = await candidates(tx, community_id, starts_at, ends_at, exclude_event_id)
    free = [candidate.host_id for candidate in offered if candidate.available][:BEST]
    rows = {host.id: host for host in await tx.session.scalars(select(Host).where(Host.id.in_(free)))}
    return [rows[host_id] for host_id in free]


async def claim_by_email(tx: db.Tx, community_id: str, caller: Caller) -> None:
    """Make the hosts that have the caller's verified e-mail the caller's, unless somebody has decided otherwise."""
    if not caller.email or not caller.email_verified:
        return
    claimed = await tx.run(
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
