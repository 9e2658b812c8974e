"""Make the plan of the whole installation: compare the inventories with what the database says now."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from app.accounts.models import Account, Host
from app.core import database
from app.events.models import END_GRACE, Event
from app.meetings import service as meetings
from app.meetings.models import Meeting
from app.reconciling import meeting_plan, registrant_plan
from app.reconciling.inventory import Inventory
from app.reconciling.meeting_plan import DesiredMeeting, MeetingRow
from app.reconciling.models import Stray
from app.reconciling.registrant_plan import KnownRegistrant, ListedRegistrant, Rsvp
from app.registrants import registrant_store
from app.registrants.models import Registrant
from app.registrations.models import Registration, is_guest


@dataclass(frozen=True)
class RegistrantActions:
    """The actions for the registrants of one meeting, which serves an event or will serve it."""

    number: int
    event_id: UUID
    actions: Sequence[registrant_plan.Action]


@dataclass
class AccountPlan:
    """The actions for one account, with the inventory they come from."""

    inventory: Inventory
    meetings: Sequence[meeting_plan.Action] = ()
    registrants: Sequence[RegistrantActions] = field(default_factory=list)

    @property
    def actions(self) -> int:
        """Return the number of actions."""
        return len(self.meetings) + sum(len(batch.actions) for batch in self.registrants)

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to do."""
        left_alone = all(isinstance(one, meeting_plan.Leave) for one in self.meetings)
        return left_alone and not any(batch.actions for batch in self.registrants)


async def plan_accounts(tx: database.Tx, inventories: Sequence[Inventory], since: datetime) -> list[AccountPlan]:
    """Return one plan for each inventory, as the database is now."""
    return [await _plan_account(tx, inventory, since) for inventory in inventories]


async def _plan_account(tx: database.Tx, inventory: Inventory, since: datetime) -> AccountPlan:
    marked_event_ids = {one.event_id for one in inventory.found_meetings if one.event_id}
    rows = (
        await tx.session.scalars(
            select(Meeting)
            .where((Meeting.account_id == inventory.account_id) | Meeting.event_id.in_(marked_event_ids))
            .order_by(Meeting.created_at, Meeting.id)
        )
    ).all()
    desired = await _desired_meetings(tx, marked_event_ids | {row.event_id for row in rows})
    known_rows = [_row(row) for row in rows]
    changed = frozenset(row.zoom_meeting_id or 0 for row in rows if _is_changed(row, inventory))
    strays = await _strays(tx, inventory.account_id)
    found = [one for one in inventory.found_meetings if (one.number, "") not in strays]
    actions = meeting_plan.plan(found, known_rows, desired, inventory.gone, changed)
    adopted = {one.number: one.event_id for one in actions if isinstance(one, meeting_plan.Adopt)}
    serving = {row.number: row.event_id for row in known_rows if row.serves and row.number is not None}
    registrants = [
        await _registrant_actions(tx, number, event_id, inventory, strays, since)
        for number, event_id in sorted((serving | adopted).items())
        if number in inventory.registrants and desired[event_id].host is not None and not desired[event_id].is_over
    ]
    return AccountPlan(inventory, actions, registrants)


def _row(row: Meeting) -> MeetingRow:
    serves = row.state not in meetings.RETIRED_STATES
    return MeetingRow(row.id, row.event_id, row.zoom_meeting_id, row.marker, tuple(row.orphan_markers), serves)


def _is_changed(row: Meeting, inventory: Inventory) -> bool:
    """Return whether the meeting changed after the backup, and no earlier run has applied that already."""
    return row.zoom_meeting_id in inventory.changed and row.last_sent is not None


async def _desired_meetings(tx: database.Tx, event_ids: set[UUID]) -> Mapping[UUID, DesiredMeeting]:
    """Return the meeting each event needs. An event that the database has lost is not in the result."""
    found = await tx.session.execute(
        select(Event, Account.status, Host.zoom_user_id)
        .outerjoin(Host, Host.id == Event.host_id)
        .outerjoin(Account, Account.id == Host.account_id)
        .where(Event.id.in_(event_ids))
    )
    return {
        event.id: DesiredMeeting(
            zoom_user_id if event.on_zoom and status != "disconnected" else None, event.ends_at + END_GRACE <= tx.now
        )
        for event, status, zoom_user_id in found
    }


async def _strays(tx: database.Tx, account_id: UUID) -> frozenset[tuple[int, str]]:
    """Return the strays a job will remove already: (meeting number, registrant id or an empty string)."""
    rows = await tx.session.execute(
        select(Stray.zoom_meeting_id, Stray.zoom_registrant_id).where(Stray.account_id == account_id)
    )
    return frozenset((number, registrant) for number, registrant in rows)


async def _registrant_actions(
    tx: database.Tx,
    number: int,
    event_id: UUID,
    inventory: Inventory,
    strays: frozenset[tuple[int, str]],
    since: datetime,
) -> RegistrantActions:
    listed = [
        ListedRegistrant(
            one.registrant_id,
            one.email.casefold(),
            status,
            is_new=one.create_time is not None and one.create_time >= since,
            has_link=bool(one.join_url),
        )
        for status, one in inventory.registrants[number]
        if (number, one.registrant_id) not in strays
    ]
    return RegistrantActions(
        number, event_id, registrant_plan.plan(listed, [one async for one in _rsvps(tx, number, event_id)])
    )


async def _rsvps(tx: database.Tx, number: int, event_id: UUID) -> AsyncIterator[Rsvp]:
    """Yield the answers to an event, in the order they came, with what we know of their registrants."""
    event = await tx.session.get_one(Event, event_id)
    hosts = (
        await tx.session.scalars(
            select(Host).where(Host.id.in_([*filter(None, [event.host_id]), *event.alternative_hosts]))
        )
    ).all()
    found = await tx.session.execute(
        select(Registration, Registrant)
        .outerjoin(Meeting, (Meeting.event_id == Registration.event_id) & (Meeting.zoom_meeting_id == number))
        .outerjoin(Registrant, (Registrant.registration_id == Registration.id) & (Registrant.meeting_id == Meeting.id))
        .where(Registration.event_id == event_id)
        .order_by(Registration.created_at, Registration.id)
    )
    for registration, registrant in found:
        verified = registration.email if registration.email_verified else None
        is_host = registrant_store.is_host(
            verified, registration.member_id, [host.email for host in hosts], [host.member_id for host in hosts]
        )
        is_coming = event.on_zoom and registration.rsvp == "going" and registration.waiting_since is None
        yield Rsvp(
            registration.id,
            registration.email.casefold(),
            should_be_registered=is_coming and verified is not None and not is_host,
            email_verified=verified is not None,
            is_guest=is_guest(registration.member_id),
            record=_known_registrant(registrant) if registrant else None,
        )


def _known_registrant(row: Registrant) -> KnownRegistrant:
    return KnownRegistrant(row.state, row.zoom_registrant_id, cancel_due=row.cancel_due or row.link_blocked)
