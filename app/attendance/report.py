"""Who came, put together: what Zoom told, who was expected, and who was sent on by our door."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select

from app.accounts.models import Account, Host
from app.attendance import service
from app.attendance.fold import (
    Attendance,
    Connection,
    Span,
    Stay,
    Window,
    attendance,
    stays,
    union,
    windows,
)
from app.attendance.match import Match, Person, Trace, match
from app.attendance.models import ParticipantSession
from app.attendance.shared_links import Link, SharedLink, links_of, shared
from app.core import db
from app.events.models import GRACE, Event
from app.joining.models import Click
from app.joining.tickets import REDIRECTED
from app.meetings.instances import Holding
from app.meetings.models import TIMED, Instance, Meeting
from app.registrations.models import Registration


@dataclass(frozen=True)
class Attendee:
    """Somebody known who was inside, and how each of their sessions is known to be theirs."""

    member_id: str
    name: str
    is_host: bool
    attendance: Attendance
    matches: Mapping[UUID, Match]


@dataclass(frozen=True)
class Unknown:
    """A session nobody known can be told to be behind."""

    session: ParticipantSession
    is_host: bool
    attendance: Attendance
    match: Match


@dataclass(frozen=True)
class Missing:
    """Somebody who was not seen inside: when they last came through our door, and whether they stood outside Zoom's."""

    member_id: str
    name: str
    clicked_at: datetime | None
    waited: bool


@dataclass(frozen=True)
class Report:
    """Who came to one event. `held` is the time its meeting was open, in order and without overlaps."""

    event: Event
    held: Sequence[Span]
    attendees: Sequence[Attendee]
    unknown: Sequence[Unknown]
    clicked_never_seen: Sequence[Missing]
    no_shows: Sequence[Missing]
    shared_links: Sequence[SharedLink]


@dataclass
class _Known:
    """The rows of one event."""

    event: Event
    now: datetime
    sessions: Sequence[ParticipantSession]
    windows: Mapping[str, Window]
    people: Mapping[str, Person] = field(default_factory=dict)
    coming: frozenset[str] = frozenset()
    links: Mapping[str, Link] = field(default_factory=dict)  # by registrant id
    hosts: Mapping[str, str | None] = field(default_factory=dict)  # Zoom user id -> member id


async def of_event(tx: db.Tx, event: Event) -> Report:
    """The report of one event, as far as Zoom has told."""
    found = await tx.session.scalars(
        select(ParticipantSession)
        .join(Meeting, Meeting.id == ParticipantSession.meeting_id)
        .where(Meeting.event_id == event.id)
    )
    known = await _held(tx, event, found.all())
    await _expected(tx, known)
    await _hosts(tx, known)
    assigned = {session.assigned_to for session in known.sessions if session.assigned_to} - known.people.keys()
    names = await service.names(tx, event.community_id, assigned)
    known.people = {**known.people, **{each: Person(each, names.get(each, "")) for each in assigned}}
    return _report(known)


async def _held(tx: db.Tx, event: Event, sessions: Sequence[ParticipantSession]) -> _Known:
    """The holdings that count, with their sessions; and of those who waited for a host who never came."""
    told = await tx.session.execute(
        select(Instance.uuid, Instance.started_at, Instance.ended_at)
        .join(Meeting, Meeting.id == Instance.meeting_id)
        .where(Meeting.event_id == event.id, TIMED)
    )
    holdings = {uuid: Holding(started_at, ended_at) for uuid, started_at, ended_at in told}
    seen: dict[str, datetime] = {}
    for session in sessions:
        if moments := session.seen_inside:
            seen[session.instance_uuid] = min([*moments, seen.get(session.instance_uuid, moments[0])])
    over = event.live_at is None and tx.now >= event.ends_at + GRACE
    until = (event.ended_at or event.ends_at) if over else tx.now
    counting = windows(holdings, seen, event.starts_at, until, over=over)
    rehearsals = (holdings.keys() | seen.keys()) - counting.keys()
    return _Known(event, tx.now, [each for each in sessions if each.instance_uuid not in rehearsals], counting)


async def _expected(tx: db.Tx, known: _Known) -> None:
    """Everybody who answered, with their registrants at every meeting of the event, and their clicks."""
    known.links = await links_of(tx, known.event.id)
    ids: dict[str | None, set[str]] = {}
    for registrant_id, link in known.links.items():
        ids.setdefault(link.member_id, set()).add(registrant_id)
    people: dict[str, Person] = {}
    coming = set()
    for registration in await tx.session.scalars(select(Registration).where(Registration.event_id == known.event.id)):
        # At Zoom an address that is not verified may be somebody else's.
        own = {registration.email} if registration.email_verified else set()
        emails, theirs = frozenset(own - {""}), frozenset(ids.get(registration.member_id, ()))
        people[registration.member_id] = Person(registration.member_id, registration.name, emails, theirs)
        if registration.rsvp == "going" and registration.waiting_since is None:
            coming.add(registration.member_id)
    clicks = await tx.session.execute(
        select(Click.member_id, Click.clicked_at).where(
            Click.member_id.in_(people), Click.event_id == known.event.id, Click.outcome == REDIRECTED
        )
    )
    for member_id, clicked_at in clicks:
        people[member_id] = replace(people[member_id], clicks=people[member_id].clicks | {clicked_at})
    known.people, known.coming = people, frozenset(coming)


async def _hosts(tx: db.Tx, known: _Known) -> None:
    """The event's hosts, and whoever else of the community's Zoom users was seen, as the members they are."""
    event = known.event
    own = [host_id for host_id in (event.host_id, *event.alternative_hosts) if host_id]
    seen = {session.zoom_user_id for session in known.sessions if session.zoom_user_id}
    rows = await tx.session.scalars(
        select(Host)
        .join(Account, Account.id == Host.account_id)
        .where(Account.community_id == event.community_id, or_(Host.id.in_(own), Host.zoom_user_id.in_(seen)))
    )
    people, hosts = dict(known.people), {}
    for host in rows:
        if host.id in own:
            hosts[host.zoom_user_id] = host.member_id
        if host.member_id:
            person = people.get(host.member_id) or Person(host.member_id, host.name or "")
            emails = person.emails | ({host.email} if host.email else set())
            ids = person.zoom_user_ids | {host.zoom_user_id}
            people[host.member_id] = replace(person, emails=emails, zoom_user_ids=ids)
    known.people, known.hosts = people, hosts


def _report(known: _Known) -> Report:
    event, held = known.event, list(known.windows.values())
    scheduled = Span(event.starts_at, event.ends_at)
    inside = {session.id: _stays(session, known.windows.get(session.instance_uuid)) for session in known.sessions}
    matches = match([_trace(session) for session in known.sessions], list(known.people.values()))
    theirs: dict[str, list[Stay]] = {}
    unknown = []
    for session in known.sessions:
        member_id = matches[session.id].member_id
        if member_id is not None:
            theirs.setdefault(member_id, []).extend(inside[session.id])
        elif was := attendance(inside[session.id], scheduled, held):
            unknown.append(Unknown(session, session.zoom_user_id in known.hosts, was, matches[session.id]))
    attendees = []
    for member_id, found in theirs.items():
        if was := attendance(found, scheduled, held):
            name, is_host = known.people[member_id].name, member_id in known.hosts.values()
            own = {stay.session_id: matches[stay.session_id] for stay in was.stays}
            attendees.append(Attendee(member_id, name, is_host, was, own))
    clicked, no_shows = _missing(known, {each.member_id for each in attendees}, theirs.keys())
    return Report(
        event,
        union(Span(window.begins, window.ends) for window in held),
        sorted(attendees, key=lambda each: (each.attendance.joined_at, each.member_id)),
        sorted(unknown, key=lambda each: (each.attendance.joined_at, each.session.id.bytes)),
        clicked,
        no_shows,
        shared(known.sessions, inside, known.links),
    )


def _missing(known: _Known, seen: set[str], waited: Iterable[str]) -> tuple[list[Missing], list[Missing]]:
    """Who clicked and was never seen; and who was coming and was not, once the event is over and Zoom has told of
    anybody at all."""
    outside = set(waited)
    clicked, no_shows = [], []
    told = bool(known.sessions) and known.event.status(known.now) == "ended"
    for member_id, person in sorted(known.people.items(), key=lambda item: (item[1].name.casefold(), item[0])):
        missing = Missing(member_id, person.name, max(person.clicks, default=None), member_id in outside)
        if member_id in seen:
            continue
        if person.clicks:
            clicked.append(missing)
        if told and member_id in known.coming:
            no_shows.append(missing)
    return clicked, no_shows


def _stays(session: ParticipantSession, window: Window | None) -> list[Stay]:
    if window is None:
        return []
    connection = Connection(
        session.id,
        session.instance_uuid,
        joins=frozenset(session.joins),
        leaves=frozenset(session.leaves),
        waits=frozenset(session.waits),
        reported=frozenset(map(Span, session.reported_from, session.reported_until)),
    )
    return stays(connection, window)


def _trace(session: ParticipantSession) -> Trace:
    return Trace(
        session.id,
        session.first_seen,
        registrant_id=session.registrant_id,
        zoom_user_id=session.zoom_user_id,
        email=session.email,
        name=session.name,
        assigned_to=session.assigned_to,
    )


def minutes(time: timedelta) -> int:
    """Whole minutes, rounded to the nearest."""
    return int((time.total_seconds() + 30) // 60)
