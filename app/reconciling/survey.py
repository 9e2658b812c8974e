"""Asking Zoom what it has: for one connected account its meetings with our marker, and the registrants of those in use.

Nothing here is written, but for a token that had to be renewed to ask.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, TypeVar
from uuid import UUID

from sqlalchemy import Select, func, select

from app.accounts import grants
from app.accounts.models import Account, Host
from app.clients.zoom import AccountClient, NotFound, RegistrationOff, ZoomError, allows
from app.clients.zoom import Meeting as Said
from app.clients.zoom import Registrant as Listed
from app.core import db
from app.core.outbox import NotNow
from app.events.models import GRACE, Event
from app.inbox import service as inbox
from app.meetings import creating, drift, service
from app.meetings.marker import event_of, marker_of
from app.meetings.models import Meeting
from app.meetings.tasks import NO_SUCH_MEETING
from app.reconciling.altered import altered
from app.reconciling.meeting_plan import Found
from app.registrations import seats
from app.resources import Resources

PATIENCE, PAUSE = 60.0, 0.5  # seconds, where calls came too close together
SKEW = timedelta(minutes=10)  # between the clocks of whoever made the backup, Zoom and us
USERS = "user:read:list_users:admin"
STATUSES: tuple[Literal["approved", "pending", "denied"], ...] = ("approved", "pending", "denied")
T = TypeVar("T")
Tick = Callable[[], None]


@dataclass
class Seen:
    """What Zoom has of one account, and what could not be found out."""

    account_id: UUID
    found: list[Found] = field(default_factory=list)
    # What Zoom says of those found, and of those known.
    said: dict[int, Said] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    altered: dict[int, frozenset[str]] = field(default_factory=dict)
    registrants: dict[int, list[tuple[str, Listed]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # Whether Zoom could not be asked everything that it may be asked.
    failed: bool = False


@dataclass(frozen=True)
class Known:
    """The account, the Zoom ids of its hosts, and the meetings in use there, each with the alternative hosts by all
    their names. `heard` are numbers Zoom has spoken of, with their hosts."""

    account: Account
    hosts: Sequence[str]
    serving: Sequence[tuple[Meeting, Event]]
    numbers: frozenset[int]
    stand_ins: Mapping[UUID, list[frozenset[str]]]
    heard: Mapping[int, str]


async def read_account(resources: Resources, account_id: UUID, since: datetime, tick: Tick) -> Seen:
    """Everything about one account, as far as it can be had; `tick` is called for each of its `steps`."""
    seen = Seen(account_id)
    async with resources.db.transaction() as tx:
        known = await _known(tx, resources, account_id, since)
    try:
        zoom = await patiently(lambda: grants.zoom(resources, account_id))
        await _find(resources, zoom, known, seen)
        tick()
        for meeting, _ in known.serving:
            if meeting.zoom_meeting_id is not None:
                await _look(zoom, known, meeting, meeting.zoom_meeting_id, seen)
                tick()
        await _list_registrants(zoom, known, seen, tick)
    except (ZoomError, NotNow) as error:
        seen.failed = True
        seen.notes.append(f"not everything could be read: {error}. Run it again once this is over.")
    return seen


async def steps(tx: db.Tx, account_id: UUID) -> int:
    """About how many steps it takes to read an account."""
    serving = _serving(account_id, tx.now).with_only_columns(func.count())
    return 1 + 2 * (await tx.session.scalar(serving.order_by(None)) or 0)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What `call` brings, once the account's other calls are not in its way any more."""
    waited = 0.0
    while True:
        try:
            return await call()
        except (ZoomError, NotNow) as error:
            if error.again != "at" or getattr(error, "daily", False) or waited >= PATIENCE:
                raise
        await asyncio.sleep(PAUSE)
        waited += PAUSE


async def _known(tx: db.Tx, resources: Resources, account_id: UUID, since: datetime) -> Known:
    account = await tx.session.get_one(Account, account_id)
    hosts = (await tx.session.scalars(select(Host).where(Host.account_id == account_id))).all()
    serving = await tx.session.execute(_serving(account_id, tx.now))
    pairs = [(meeting, event) for meeting, event in serving]
    numbers = await tx.session.scalars(
        select(Meeting.zoom_meeting_id)
        .join(Account, Account.id == Meeting.account_id)
        .where(Meeting.zoom_meeting_id.is_not(None), Account.zoom_account_id == account.zoom_account_id)
    )
    named = {host.id: frozenset(name for name in (host.zoom_user_id, host.email) if name) for host in hosts}
    return Known(
        account,
        [host.zoom_user_id for host in hosts],
        pairs,
        frozenset(number for number in numbers if number is not None),
        {meeting.id: [named[host] for host in event.alternative_hosts if host in named] for meeting, event in pairs},
        await inbox.named_since(tx, resources.seal, account_id, since - SKEW),
    )


def _serving(account_id: UUID, now: datetime) -> Select[Meeting, Event]:
    return (
        select(Meeting, Event)
        .join(Event, Event.id == Meeting.event_id)
        .where(Meeting.account_id == account_id, Meeting.state.in_(service.SERVING))
        .where(Meeting.zoom_meeting_id.is_not(None), Event.ends_at > now - GRACE)
        .order_by(Event.starts_at, Event.id)
    )


async def _find(resources: Resources, zoom: AccountClient, known: Known, seen: Seen) -> None:
    """Meetings with our marker that no row has: in the lists of the hosts, and among those Zoom spoke of."""
    unknown = {number: host for number, host in known.heard.items() if number not in known.numbers}
    if allows(known.account.scopes, creating.LIST):
        for zoom_user_id in await _users(zoom, known):
            for meeting in await _of_host(zoom, zoom_user_id, seen):
                if marker_of(meeting.agenda) and meeting.id not in known.numbers:
                    unknown[meeting.id] = zoom_user_id
    else:
        seen.notes.append(
            f"without the scope {creating.LIST} meetings made after the backup are found only where Zoom has told of"
            " them since: look in Zoom for meetings without an event."
        )
    if not allows(known.account.scopes, drift.READ):
        seen.notes.append(f"without the scope {drift.READ} no meeting can be read: none is adopted or compared.")
        return
    for number, zoom_user_id in sorted(unknown.items()):
        said = await _read(zoom, number)
        marker = marker_of(said.agenda) if said else None
        if said and marker:
            over = _over(said, resources.clock.now())
            seen.found.append(Found(number, zoom_user_id, marker, event_of(resources.seal, marker), over))
            seen.said[number] = said


async def _users(zoom: AccountClient, known: Known) -> Sequence[str]:
    """Who may have meetings: the hosts we know, and whoever came since."""
    if known.account.own_user_only or not allows(known.account.scopes, USERS):
        return known.hosts

    async def listed() -> list[str]:
        return [user.id async for user in zoom.list_users()]

    return list(dict.fromkeys([*known.hosts, *await patiently(listed)]))


async def _of_host(zoom: AccountClient, zoom_user_id: str, seen: Seen) -> Sequence[Said]:
    async def listed() -> Sequence[Said]:
        return [meeting async for meeting in zoom.list_meetings(zoom_user_id)]

    try:
        return await patiently(listed)
    except NotFound:
        return ()  # a user that is gone has none
    except ZoomError as error:
        if error.again != "never":
            raise
        seen.notes.append(f"the meetings of host {zoom_user_id} cannot be listed: {error}")
        return ()


async def _read(zoom: AccountClient, number: int) -> Said | None:
    """A meeting; None where Zoom says that there is no such meeting."""
    try:
        return await patiently(lambda: zoom.get_meeting(number))
    except NotFound as error:
        if error.code != NO_SUCH_MEETING:
            raise
        return None


def _over(said: Said, now: datetime) -> bool:
    return said.start_time is not None and said.start_time + timedelta(minutes=said.duration or 0) + GRACE <= now


async def _look(zoom: AccountClient, known: Known, meeting: Meeting, number: int, seen: Seen) -> None:
    """What Zoom says of a meeting in use."""
    if not allows(known.account.scopes, drift.READ):
        return
    said = await _read(zoom, number)
    if said is None:
        seen.gone.add(number)
        return
    seen.said[number] = said
    # Where nothing is known of what was asked for, it is asked for anew already.
    if meeting.pushed is not None:
        names = altered(meeting.pushed, meeting.observed or {}, said, known.stand_ins[meeting.id])
        if names:
            seen.altered[number] = names


async def _list_registrants(zoom: AccountClient, known: Known, seen: Seen, tick: Tick) -> None:
    """The registrants of every meeting that is in use, or may be adopted."""
    if not allows(known.account.scopes, seats.LIST):
        seen.notes.append(
            f"without the scope {seats.LIST} nobody can be compared: who is coming is added, and who is not is taken"
            " off, once more by the ordinary jobs; people whose answer is lost stay registered at Zoom."
        )
        return
    used = [meeting.zoom_meeting_id for meeting, _ in known.serving if meeting.protected]
    for number in [*used, *(one.number for one in seen.found if not one.over)]:
        if number is None or number in seen.gone:
            continue
        with contextlib.suppress(NotFound, RegistrationOff):
            seen.registrants[number] = await patiently(partial(_registrants, zoom, number))
        tick()


async def _registrants(zoom: AccountClient, number: int) -> list[tuple[str, Listed]]:
    return [(status, registrant) for status in STATUSES async for registrant in zoom.list_registrants(number, status)]
