"""Who came, put together: what Zoom told, who was expected, and who was sent on by our door."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, or_, select

from app.accounts.models import Account, Host
from app.attendance import service
from app.attendance.fold import Attendance, Span, Stay, attendance, union
from app.attendance.held import Held, held
from app.attendance.match import Match, Person, Trace, match, plain
from app.attendance.participants import Participant
from app.attendance.shared_links import Link, SharedLink, links_of, shared
from app.core import db
from app.events import settings
from app.events.models import Event
from app.events.settings import AttendanceThreshold
from app.joining.models import Click
from app.joining.tickets import REDIRECTED
from app.meetings.models import Meeting
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
    """A participant nobody known can be told to be behind."""

    session: Participant
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
    """Who came to one event. `held` is the time its meeting was open, in order and without overlaps; `threshold` what
    its community asks of whoever attended."""

    event: Event
    threshold: AttendanceThreshold
    held: Sequence[Span]
    attendees: Sequence[Attendee]
    unknown: Sequence[Unknown]
    clicked_never_seen: Sequence[Missing]
    no_shows: Sequence[Missing]
    shared_links: Sequence[SharedLink]


class ZoomUser(NamedTuple):
    """A user of the community's Zoom accounts, and whether they are a host or alternative host of the event."""

    host: Host
    hosts: bool

    def fits(self, participant: Participant) -> bool:
        """Whether it is their session: by the Zoom user, or by the address where no Zoom user is known. Without being
        signed in a host is known by nothing but the name, which can keep a click away and give nobody anything."""
        if participant.zoom_user_id:
            return participant.zoom_user_id == self.host.zoom_user_id
        if participant.registrant_id:
            return False
        if participant.email:
            return participant.email.lower() == (self.host.email or "").lower()
        return self.hosts and plain(participant.name) == plain(self.host.name) != ""


@dataclass
class _Known:
    """What is known of one event."""

    event: Event
    now: datetime
    held: Held
    threshold: AttendanceThreshold
    people: Mapping[str, Person] = field(default_factory=dict)
    coming: frozenset[str] = frozenset()
    links: Mapping[str, Link] = field(default_factory=dict)  # by registrant id
    zoom_users: Sequence[ZoomUser] = ()
    protected: frozenset[UUID] = frozenset()  # meetings nobody but the hosts enters without a registrant


async def of_event(tx: db.Tx, event: Event) -> Report:
    """The report of one event, as far as Zoom has told."""
    chosen = await settings.get(tx, event.community_id)
    known = _Known(event, tx.now, await held(tx, event), chosen.attendance)
    await _expected(tx, known)
    await _hosts(tx, known)
    assigned = {each.assigned_to for each in known.held.participants if each.assigned_to} - known.people.keys()
    names = await service.names(tx, event.community_id, assigned)
    known.people = {**known.people, **{each: Person(each, names.get(each, "")) for each in assigned}}
    return _report(known)


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
    event, seen = known.event, known.held.participants
    meetings = (await tx.session.scalars(select(Meeting).where(Meeting.event_id == event.id))).all()
    own = {event.host_id, *event.alternative_hosts, *(meeting.host_id for meeting in meetings)} - {None}
    ids = {each.zoom_user_id for each in seen if each.zoom_user_id}
    emails = {each.email.lower() for each in seen if each.email}
    rows = await tx.session.scalars(
        select(Host)
        .join(Account, Account.id == Host.account_id)
        .where(
            Account.community_id == event.community_id,
            or_(Host.id.in_(own), Host.zoom_user_id.in_(ids), func.lower(Host.email).in_(emails)),
        )
        .order_by(Host.id)
    )
    known.zoom_users = [ZoomUser(host, host.id in own) for host in rows]
    known.protected = frozenset(meeting.id for meeting in meetings if meeting.protected)
    people = dict(known.people)
    for host, _ in known.zoom_users:
        if host.member_id:
            person = people.get(host.member_id) or Person(host.member_id, host.name or "")
            addresses = person.emails | ({host.email} if host.email else set())
            users = person.zoom_user_ids | {host.zoom_user_id}
            people[host.member_id] = replace(person, emails=addresses, zoom_user_ids=users)
    known.people = people


def _report(known: _Known) -> Report:
    event, held = known.event, known.held.counting
    scheduled = Span(event.starts_at, event.ends_at)
    inside = {each.id: known.held.inside(each) for each in known.held.participants}
    traces = {each.id: _trace(each, known) for each in known.held.participants}
    matches = match(list(traces.values()), list(known.people.values()))
    hosts = {user.host.member_id for user in known.zoom_users if user.hosts} - {None}
    theirs: dict[str, list[Stay]] = {}
    unknown = []
    for each in known.held.participants:
        member_id = matches[each.id].member_id
        if member_id is not None:
            theirs.setdefault(member_id, []).extend(inside[each.id])
        elif was := attendance(inside[each.id], scheduled, held):
            is_host = any(user.hosts for user in known.zoom_users if user.fits(each))
            unknown.append(Unknown(each, is_host, was, matches[each.id]))
    attendees = []
    for member_id, found in theirs.items():
        if was := attendance(found, scheduled, held):
            own = {stay.session_id: matches[stay.session_id] for stay in was.stays}
            attendees.append(Attendee(member_id, known.people[member_id].name, member_id in hosts, was, own))
    clicked, no_shows = _missing(known, {each.member_id for each in attendees}, theirs.keys())
    return Report(
        event,
        known.threshold,
        union(Span(window.begins, window.ends) for window in held),
        sorted(attendees, key=lambda each: (each.attendance.joined_at, each.member_id)),
        sorted(unknown, key=lambda each: (each.attendance.joined_at, each.session.id.bytes)),
        clicked,
        no_shows,
        shared(known.held.participants, inside, known.links),
    )


def _trace(participant: Participant, known: _Known) -> Trace:
    """What tells whose session it is. A click leads to none of the account's own Zoom users, to nobody who calls in,
    and to no meeting where everybody who enters has a registrant."""
    users = [user for user in known.zoom_users if user.fits(participant)]
    return Trace(
        participant.id,
        participant.first_seen,
        registrant_id=participant.registrant_id,
        zoom_user_id=participant.zoom_user_id,
        email=participant.email,
        name=participant.name,
        assigned_to=participant.assigned_to,
        is_host=any(user.hosts and user.host.member_id is None for user in users),
        by_click=not (users or participant.by_phone or participant.meeting_id in known.protected),
    )


def _missing(known: _Known, seen: set[str], waited: Iterable[str]) -> tuple[list[Missing], list[Missing]]:
    """Who clicked and was never seen; and who was coming and was not, once the event is over and Zoom has told of
    anybody at all."""
    outside = set(waited)
    clicked, no_shows = [], []
    told = bool(known.held.participants) and known.event.status(known.now) == "ended"
    for member_id, person in sorted(known.people.items(), key=lambda item: (item[1].name.casefold(), item[0])):
        missing = Missing(member_id, person.name, max(person.clicks, default=None), member_id in outside)
        if member_id in seen:
            continue
        if person.clicks:
            clicked.append(missing)
        if told and member_id in known.coming:
            no_shows.append(missing)
    return clicked, no_shows
