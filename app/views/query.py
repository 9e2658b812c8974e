"""The one query behind every response that shows an event: one event, lists, and their filters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    Text,
    and_,
    any_,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased, defer

from app.accounts import hosts
from app.accounts.models import Account, Host
from app.core.database import Tx
from app.core.identity import Caller
from app.core.models import Community, OutboxRow
from app.events import access
from app.events.models import Event, Space, status_sql
from app.meetings.models import Instance, Meeting
from app.meetings.service import RETIRED_STATES
from app.registrants.models import Registrant
from app.registrations.models import Registration

SYNC_JOB = "meetings.sync"


@dataclass(frozen=True)
class Row:
    """An event with everything a response shows of it to one caller.

    Of the encrypted links the row tells only whether they exist.
    """

    event: Event
    community_slug: str
    space_name: str | None
    host: Host | None
    account_status: str | None
    host_reachable: bool | None
    unavailable_alternatives: list[str] | None
    is_host: bool
    is_alternative: bool
    meeting: Meeting | None
    has_meeting_link: bool
    registration: Registration | None
    registrant: Registrant | None
    has_registrant_link: bool
    going: int
    maybe: int
    waiting: int
    position: int | None
    recording_count: int
    sync_job: OutboxRow | None


@dataclass(frozen=True)
class Filters:
    """Filters of a list: a space, a time span (its end excluded) in which the event runs, and states."""

    space: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    status: tuple[str, ...] = ()

    def conditions(self, now: datetime) -> list[ColumnElement[bool]]:
        """Return the filters as SQL conditions on an event."""
        conditions: list[ColumnElement[bool]] = []
        if self.space is not None:
            conditions.append(Event.space_id == self.space)
        if self.since is not None:
            conditions.append(Event.ends_at > self.since)
        if self.until is not None:
            conditions.append(Event.starts_at < self.until)
        if self.status:
            conditions.append(status_sql(now).in_(self.status))
        return conditions


MyRegistration = aliased(Registration, name="my_registration")
AlternativeHost = aliased(Host, name="alternative_host")
RecordedMeeting = aliased(Meeting, name="recorded_meeting")

_counts = (
    select(
        func.count().filter(Registration.rsvp == "going", Registration.waiting_since.is_(None)).label("going"),
        func.count().filter(Registration.rsvp == "maybe").label("maybe"),
        func.count().filter(Registration.rsvp == "going", Registration.waiting_since.is_not(None)).label("waiting"),
        func.count()
        .filter(
            Registration.rsvp == "going",
            tuple_(Registration.waiting_since, Registration.id)
            <= tuple_(MyRegistration.waiting_since, MyRegistration.id),
        )
        .label("position"),
    )
    .where(Registration.event_id == Event.id)
    .correlate(Event, MyRegistration)
    .lateral("counts")
)

# The addresses by which a join recognises the caller as a host, beside the member id: the verified address of the
# token, and that of the registration.
_ADDRESSES = ("requester.address", "CASE WHEN my_registration.email_verified THEN my_registration.email END")
_is_host = literal_column(hosts.is_host_sql("hosts", "requester.member_id", *_ADDRESSES), Boolean)
_is_alternative = (
    select(AlternativeHost.id)
    .where(
        AlternativeHost.id == any_(Event.alternative_hosts),
        literal_column(hosts.is_host_sql("alternative_host", "requester.member_id", *_ADDRESSES), Boolean),
    )
    .correlate(Event)
    .exists()
)

# Names of the alternative hosts who can no longer start the meeting.
_unavailable_alternatives = (
    select(
        func.array_agg(
            aggregate_order_by(func.coalesce(AlternativeHost.name, ""), AlternativeHost.name, AlternativeHost.id)
        )
    )
    .where(
        AlternativeHost.id == any_(Event.alternative_hosts),
        ~and_(or_(AlternativeHost.listed, AlternativeHost.name.is_(None)), AlternativeHost.licensed),
    )
    .correlate(Event)
    .scalar_subquery()
)

# How many instances have a recording at Zoom. An instance that ended before the start was a rehearsal and does not
# count.
_recordings = (
    select(func.count())
    .select_from(Instance)
    .join(RecordedMeeting, RecordedMeeting.id == Instance.meeting_id)
    .where(
        RecordedMeeting.event_id == Event.id,
        Instance.recording_available.is_(True),
        or_(Instance.ended_at.is_(None), Instance.ended_at >= Event.starts_at),
    )
    .correlate(Event)
    .scalar_subquery()
)

# The columns of the query, in the order of the fields of `Row`.
_COLUMNS: tuple[Any, ...] = (
    Event,
    Community.slug,
    Space.name,
    Host,
    Account.status,
    and_(or_(Host.listed, Host.name.is_(None)), Account.user_scope.in_(["", Host.zoom_user_id])),
    _unavailable_alternatives,
    _is_host,
    _is_alternative,
    Meeting,
    Meeting.join_url.is_not(None),
    MyRegistration,
    Registrant,
    Registrant.join_url.is_not(None),
    _counts.c.going,
    _counts.c.maybe,
    _counts.c.waiting,
    case((and_(MyRegistration.rsvp == "going", MyRegistration.waiting_since.is_not(None)), _counts.c.position)),
    _recordings,
    OutboxRow,
)


def _rows(caller: Caller) -> Select[Any]:
    """Return the query for all events that are not deleted, as the caller sees them, by start."""
    requester = select(
        literal(caller.member_id, Text).label("member_id"), literal(caller.verified_email, Text).label("address")
    ).subquery("requester")
    return (
        select(*_COLUMNS)
        .select_from(Event)
        .join(requester, true())
        .join(Community, Community.id == Event.community_id)
        .outerjoin(Space, Space.id == Event.space_id)
        .outerjoin(Host, Host.id == Event.host_id)
        .outerjoin(Account, Account.id == Host.account_id)
        .outerjoin(
            Meeting,
            and_(Meeting.event_id == Event.id, Meeting.account_id == Account.id, Meeting.state.not_in(RETIRED_STATES)),
        )
        .outerjoin(
            MyRegistration, and_(MyRegistration.event_id == Event.id, MyRegistration.member_id == requester.c.member_id)
        )
        .outerjoin(
            Registrant, and_(Registrant.registration_id == MyRegistration.id, Registrant.meeting_id == Meeting.id)
        )
        .outerjoin(OutboxRow, and_(OutboxRow.job == SYNC_JOB, OutboxRow.key == cast(Event.id, Text)))
        .join(_counts, true())
        .where(Event.deleted_at.is_(None))
        .options(defer(Meeting.join_url, raiseload=True), defer(Registrant.join_url, raiseload=True))
        .order_by(Event.starts_at, Event.id)
    )


async def get_event(tx: Tx, caller: Caller, event_id: UUID) -> Row | None:
    """Return the event if the caller may see it, else None."""
    found = (await tx.session.execute(_rows(caller).where(Event.id == event_id, *access.visible_to(caller)))).first()
    return Row(*found) if found else None


async def list_in_community(
    tx: Tx, caller: Caller, community_id: str, filters: Filters, limit: int, after: tuple[datetime, UUID] | None
) -> Sequence[Row]:
    """Return up to `limit` events of a community by start, starting after the (start, id) `after`."""
    return await _list(tx, caller, [Event.community_id == community_id], filters, limit, after)


async def attended_by(
    tx: Tx, caller: Caller, filters: Filters, limit: int, after: tuple[datetime, UUID] | None
) -> Sequence[Row]:
    """Return the events the caller answered with going or maybe, in communities they still belong to."""
    return await _list(
        tx, caller, [MyRegistration.rsvp.in_(["going", "maybe"]), *access.visible_to(caller)], filters, limit, after
    )


async def hosted_by(
    tx: Tx, caller: Caller, filters: Filters, limit: int, after: tuple[datetime, UUID] | None
) -> Sequence[Row]:
    """Return the events the caller hosts or coaches, in communities they still belong to.

    Alternative hosts count as hosts.
    """
    own = or_(_is_host, _is_alternative, Event.coach_id == caller.member_id)
    return await _list(tx, caller, [own, *access.visible_to(caller)], filters, limit, after)


async def _list(
    tx: Tx,
    caller: Caller,
    conditions: Sequence[ColumnElement[bool]],
    filters: Filters,
    limit: int,
    after: tuple[datetime, UUID] | None,
) -> Sequence[Row]:
    statement = _rows(caller).where(*conditions, *filters.conditions(tx.now)).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(Event.starts_at, Event.id) > tuple_(*after))
    return [Row(*found) for found in await tx.session.execute(statement)]
