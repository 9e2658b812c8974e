"""The plan of a whole installation: what Zoom was seen to have, held against what the database says now."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from app.accounts.models import Account, Host
from app.core import db
from app.events.models import GRACE, Event
from app.meetings import service as meetings
from app.meetings.models import Meeting
from app.reconciling import meeting_plan, registrant_plan
from app.reconciling.meeting_plan import Row, Wish
from app.reconciling.models import Stray
from app.reconciling.registrant_plan import Answer, Listed, Record
from app.reconciling.survey import Seen
from app.registrations import seats
from app.registrations.models import Registrant, Registration, is_guest


@dataclass(frozen=True)
class AtMeeting:
    """What is to become of the registrants of one meeting, by its number, which serves or will serve an event."""

    number: int
    event_id: UUID
    actions: Sequence[registrant_plan.Action]


@dataclass
class Plan:
    """What is to be done on one account, with what was seen there."""

    seen: Seen
    meetings: Sequence[meeting_plan.Action] = ()
    registrants: Sequence[AtMeeting] = field(default_factory=list)

    @property
    def actions(self) -> int:
        """How many steps there are."""
        return len(self.meetings) + sum(len(at.actions) for at in self.registrants)

    @property
    def silent(self) -> bool:
        """Whether nothing is to be done."""
        left_alone = all(isinstance(one, meeting_plan.Leave) for one in self.meetings)
        return left_alone and not any(at.actions for at in self.registrants)


async def plan(tx: db.Tx, seen: Sequence[Seen], since: datetime) -> list[Plan]:
    """One plan for each account, as the database stands now."""
    return [await _of_account(tx, one, since) for one in seen]


async def _of_account(tx: db.Tx, seen: Seen, since: datetime) -> Plan:
    named = {one.event_id for one in seen.found if one.event_id}
    rows = (
        await tx.session.scalars(
            select(Meeting)
            .where((Meeting.account_id == seen.account_id) | Meeting.event_id.in_(named))
            .order_by(Meeting.created_at, Meeting.id)
        )
    ).all()
    wishes = await _wishes(tx, named | {row.event_id for row in rows})
    known = [_row(row) for row in rows]
    altered = frozenset(row.zoom_meeting_id or 0 for row in rows if _is_altered(row, seen))
    strays = await _strays(tx, seen.account_id)
    found = [one for one in seen.found if (one.number, "") not in strays]
    actions = meeting_plan.plan(found, known, wishes, seen.gone, altered)
    adopted = {one.number: one.event_id for one in actions if isinstance(one, meeting_plan.Adopt)}
    serving = {row.number: row.event_id for row in known if row.serves and row.number is not None}
    at = [
        await _at_meeting(tx, number, event_id, seen, strays, since)
        for number, event_id in sorted((serving | adopted).items())
        if number in seen.registrants and wishes[event_id].host is not None and not wishes[event_id].over
    ]
    return Plan(seen, actions, at)


def _row(row: Meeting) -> Row:
    serves = row.state not in meetings.SETTLED
    return Row(row.id, row.event_id, row.zoom_meeting_id, row.marker, tuple(row.orphan_markers), serves)


def _is_altered(row: Meeting, seen: Seen) -> bool:
    return row.zoom_meeting_id in seen.altered and row.pushed is not None


async def _wishes(tx: db.Tx, event_ids: set[UUID]) -> Mapping[UUID, Wish]:
    """What the events there are want; one that is not among them is lost."""
    found = await tx.session.execute(
        select(Event, Account.status, Host.zoom_user_id)
        .outerjoin(Host, Host.id == Event.host_id)
        .outerjoin(Account, Account.id == Host.account_id)
        .where(Event.id.in_(event_ids))
    )
    return {
        event.id: Wish(
            zoom_user_id if event.on_zoom and status != "disconnected" else None, event.ends_at + GRACE <= tx.now
        )
        for event, status, zoom_user_id in found
    }


async def _strays(tx: db.Tx, account_id: UUID) -> frozenset[tuple[int, str]]:
    """What is to be taken away already: the numbers of meetings, with the id of a registrant or none."""
    rows = await tx.session.execute(
        select(Stray.zoom_meeting_id, Stray.zoom_registrant_id).where(Stray.account_id == account_id)
    )
    return frozenset((number, registrant) for number, registrant in rows)


async def _at_meeting(
    tx: db.Tx, number: int, event_id: UUID, seen: Seen, strays: frozenset[tuple[int, str]], since: datetime
) -> AtMeeting:
    listed = [
        Listed(
            one.registrant_id,
            one.email.casefold(),
            status,
            since=one.create_time is not None and one.create_time >= since,
            has_link=bool(one.join_url),
        )
        for status, one in seen.registrants[number]
        if (number, one.registrant_id) not in strays
    ]
    return AtMeeting(
        number, event_id, registrant_plan.plan(listed, [one async for one in _answers(tx, number, event_id)])
    )


async def _answers(tx: db.Tx, number: int, event_id: UUID) -> AsyncIterator[Answer]:
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
        is_host = seats.hosts(
            verified, registration.member_id, [host.email for host in hosts], [host.member_id for host in hosts]
        )
        comes = event.on_zoom and registration.rsvp == "going" and registration.waiting_since is None
        yield Answer(
            registration.id,
            registration.email.casefold(),
            wants=comes and verified is not None and not is_host,
            counts=verified is not None,
            is_guest=is_guest(registration.member_id),
            record=_record(registrant) if registrant else None,
        )


def _record(row: Registrant) -> Record:
    return Record(row.state, row.zoom_registrant_id, due=row.cancel_due or row.barred)
