"""Ask Zoom what one connected account has: meetings with our marker, and registrants.

Registrants are read for the meetings in use and for those that may be adopted. Nothing is written here, except a token
that had to be refreshed.
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
from app.clients.zoom import Meeting as ZoomMeeting
from app.clients.zoom import Registrant as ZoomRegistrant
from app.core import database
from app.core.outbox import RetryLater
from app.events.models import END_GRACE, Event
from app.inbox import service as inbox
from app.meetings import creation, drift, service
from app.meetings.marker import event_id_of, marker_of
from app.meetings.models import Meeting
from app.meetings.tasks import NO_SUCH_MEETING
from app.reconciling.meeting_diff import changed_fields
from app.reconciling.meeting_plan import FoundMeeting
from app.registrants import registrant_store
from app.resources import Resources

# How long, and how often, a call is repeated that came too close after another.
MAX_WAIT_SECONDS = 60.0
RETRY_SECONDS = 0.5
# How far the clocks of the machine that made the backup, of Zoom and of ours may be apart.
CLOCK_SKEW = timedelta(minutes=10)
LIST_USERS_SCOPE = "user:read:list_users:admin"
STATUSES: tuple[Literal["approved", "pending", "denied"], ...] = ("approved", "pending", "denied")
T = TypeVar("T")
OnStep = Callable[[], None]


@dataclass
class Inventory:
    """What Zoom has for one account, and notes for the operator about what could not be read."""

    account_id: UUID
    found_meetings: list[FoundMeeting] = field(default_factory=list)
    # Zoom's meetings by number: those of `found_meetings`, and those our rows name.
    zoom_meetings: dict[int, ZoomMeeting] = field(default_factory=dict)
    # Numbers our rows name and Zoom does not know any more.
    gone: set[int] = field(default_factory=set)
    # For each meeting that changed after the backup, the names of the changed fields.
    changed: dict[int, frozenset[str]] = field(default_factory=dict)
    # For each meeting, the (status, registrant) pairs that Zoom lists.
    registrants: dict[int, list[tuple[str, ZoomRegistrant]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # Whether an error kept us from reading everything that the grant allows to read.
    failed: bool = False


@dataclass(frozen=True)
class LocalState:
    """What the database knows of one account.

    `hosts` are Zoom user ids. `active` are the meetings in use with their events. `known_numbers` are the numbers of
    all rows. `alternative_hosts` has, for each meeting, all names of each alternative host. `notified_numbers` maps
    numbers from Zoom's notifications to their host.
    """

    account: Account
    hosts: Sequence[str]
    active: Sequence[tuple[Meeting, Event]]
    known_numbers: frozenset[int]
    alternative_hosts: Mapping[UUID, list[frozenset[str]]]
    notified_numbers: Mapping[int, str]


async def take_inventory(resources: Resources, account_id: UUID, since: datetime, on_step: OnStep) -> Inventory:
    """Read everything about one account from Zoom. `on_step` is called for each of the `estimate_steps`."""
    inventory = Inventory(account_id)
    async with resources.db.transaction() as tx:
        local_state = await _load_local_state(tx, resources, account_id, since)
    try:
        zoom = await retry_when_limited(lambda: grants.client_for(resources, account_id))
        await _find_unknown_meetings(resources, zoom, local_state, inventory)
        on_step()
        for meeting, _ in local_state.active:
            if meeting.zoom_meeting_id is not None:
                await _compare_meeting(zoom, local_state, meeting, meeting.zoom_meeting_id, inventory)
                on_step()
        await _list_registrants(zoom, local_state, inventory, on_step)
    except (ZoomError, RetryLater) as error:
        inventory.failed = True
        inventory.notes.append(f"not everything could be read: {error}. Run it again once this is over.")
    return inventory


async def estimate_steps(tx: database.Tx, account_id: UUID) -> int:
    """Estimate how many steps it takes to read an account."""
    active = _active_meetings(account_id, tx.now).with_only_columns(func.count())
    return 1 + 2 * (await tx.session.scalar(active.order_by(None)) or 0)


async def retry_when_limited(call: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `call`; repeat it while the account's other calls use up the rate limit."""
    waited = 0.0
    while True:
        try:
            return await call()
        except (ZoomError, RetryLater) as error:
            if error.retry != "at" or getattr(error, "daily", False) or waited >= MAX_WAIT_SECONDS:
                raise
        await asyncio.sleep(RETRY_SECONDS)
        waited += RETRY_SECONDS


async def _load_local_state(tx: database.Tx, resources: Resources, account_id: UUID, since: datetime) -> LocalState:
    account = await tx.session.get_one(Account, account_id)
    hosts = (await tx.session.scalars(select(Host).where(Host.account_id == account_id))).all()
    active = await tx.session.execute(_active_meetings(account_id, tx.now))
    pairs = [(meeting, event) for meeting, event in active]
    numbers = await tx.session.scalars(
        select(Meeting.zoom_meeting_id)
        .join(Account, Account.id == Meeting.account_id)
        .where(Meeting.zoom_meeting_id.is_not(None), Account.zoom_account_id == account.zoom_account_id)
    )
    names_by_host = {host.id: frozenset(name for name in (host.zoom_user_id, host.email) if name) for host in hosts}
    return LocalState(
        account=account,
        hosts=[host.zoom_user_id for host in hosts],
        active=pairs,
        known_numbers=frozenset(number for number in numbers if number is not None),
        alternative_hosts={
            meeting.id: [names_by_host[host] for host in event.alternative_hosts if host in names_by_host]
            for meeting, event in pairs
        },
        notified_numbers=await inbox.mentioned_meeting_hosts(tx, resources.encryption, account_id, since - CLOCK_SKEW),
    )


def _active_meetings(account_id: UUID, now: datetime) -> Select[Meeting, Event]:
    """Return the query for the account's meetings in use whose event is not over."""
    return (
        select(Meeting, Event)
        .join(Event, Event.id == Meeting.event_id)
        .where(Meeting.account_id == account_id, Meeting.state.in_(service.ACTIVE_STATES))
        .where(Meeting.zoom_meeting_id.is_not(None), Event.ends_at > now - END_GRACE)
        .order_by(Event.starts_at, Event.id)
    )


async def _find_unknown_meetings(
    resources: Resources, zoom: AccountClient, local_state: LocalState, inventory: Inventory
) -> None:
    """Find meetings with our marker that no row names: in the lists of the hosts, and in notifications."""
    unknown = {
        number: host for number, host in local_state.notified_numbers.items() if number not in local_state.known_numbers
    }
    if allows(local_state.account.scopes, creation.LIST_SCOPE):
        for zoom_user_id in await _zoom_user_ids(zoom, local_state):
            for meeting in await _list_meetings(zoom, zoom_user_id, inventory):
                if marker_of(meeting.agenda) and meeting.id not in local_state.known_numbers:
                    unknown[meeting.id] = zoom_user_id
    else:
        inventory.notes.append(
            f"without the scope {creation.LIST_SCOPE} meetings made after the backup are found only where Zoom has"
            " told of them since: look in Zoom for meetings without an event."
        )
    if not allows(local_state.account.scopes, drift.READ_SCOPE):
        inventory.notes.append(
            f"without the scope {drift.READ_SCOPE} no meeting can be read: none is adopted or compared."
        )
        return
    for number, zoom_user_id in sorted(unknown.items()):
        zoom_meeting = await _read_meeting(zoom, number)
        marker = marker_of(zoom_meeting.agenda) if zoom_meeting else None
        if zoom_meeting and marker:
            is_over = _is_over(zoom_meeting, resources.clock.now())
            inventory.found_meetings.append(
                FoundMeeting(number, zoom_user_id, marker, event_id_of(resources.encryption, marker), is_over)
            )
            inventory.zoom_meetings[number] = zoom_meeting


async def _zoom_user_ids(zoom: AccountClient, local_state: LocalState) -> Sequence[str]:
    """Return the Zoom users who may have meetings: our hosts, and users who joined after the backup."""
    if local_state.account.user_scope or not allows(local_state.account.scopes, LIST_USERS_SCOPE):
        return local_state.hosts

    async def fetch() -> list[str]:
        return [user.id async for user in zoom.list_users()]

    return list(dict.fromkeys([*local_state.hosts, *await retry_when_limited(fetch)]))


async def _list_meetings(zoom: AccountClient, zoom_user_id: str, inventory: Inventory) -> Sequence[ZoomMeeting]:
    async def fetch() -> Sequence[ZoomMeeting]:
        return [meeting async for meeting in zoom.list_meetings(zoom_user_id)]

    try:
        return await retry_when_limited(fetch)
    except NotFound:
        return ()  # the user is gone, and so are the meetings
    except ZoomError as error:
        if error.retry != "never":
            raise
        inventory.notes.append(f"the meetings of host {zoom_user_id} cannot be listed: {error}")
        return ()


async def _read_meeting(zoom: AccountClient, number: int) -> ZoomMeeting | None:
    """Read a meeting; None if Zoom says that it does not exist."""
    try:
        return await retry_when_limited(lambda: zoom.get_meeting(number))
    except NotFound as error:
        if error.code != NO_SUCH_MEETING:
            raise
        return None


def _is_over(zoom_meeting: ZoomMeeting, now: datetime) -> bool:
    return (
        zoom_meeting.start_time is not None
        and zoom_meeting.start_time + timedelta(minutes=zoom_meeting.duration or 0) + END_GRACE <= now
    )


async def _compare_meeting(
    zoom: AccountClient, local_state: LocalState, meeting: Meeting, number: int, inventory: Inventory
) -> None:
    """Read a meeting in use, and store whether it is gone or changed."""
    if not allows(local_state.account.scopes, drift.READ_SCOPE):
        return
    zoom_meeting = await _read_meeting(zoom, number)
    if zoom_meeting is None:
        inventory.gone.add(number)
        return
    inventory.zoom_meetings[number] = zoom_meeting
    # Without `last_sent` there is nothing to compare, and the next sync sends the whole plan anyway.
    if meeting.last_sent is not None:
        names = changed_fields(
            meeting.last_sent, meeting.observed or {}, zoom_meeting, local_state.alternative_hosts[meeting.id]
        )
        if names:
            inventory.changed[number] = names


async def _list_registrants(
    zoom: AccountClient, local_state: LocalState, inventory: Inventory, on_step: OnStep
) -> None:
    """List the registrants of every meeting that is in use or may be adopted."""
    if not allows(local_state.account.scopes, registrant_store.LIST_SCOPE):
        inventory.notes.append(
            f"without the scope {registrant_store.LIST_SCOPE} nobody can be compared: who is coming is added, and who"
            " is not is taken off, once more by the ordinary jobs; people whose answer is lost stay registered at Zoom."
        )
        return
    active_numbers = [meeting.zoom_meeting_id for meeting, _ in local_state.active if meeting.protected]
    for number in [*active_numbers, *(one.number for one in inventory.found_meetings if not one.is_over)]:
        if number is None or number in inventory.gone:
            continue
        with contextlib.suppress(NotFound, RegistrationOff):
            inventory.registrants[number] = await retry_when_limited(partial(_registrants, zoom, number))
        on_step()


async def _registrants(zoom: AccountClient, number: int) -> list[tuple[str, ZoomRegistrant]]:
    return [(status, registrant) for status in STATUSES async for registrant in zoom.list_registrants(number, status)]
