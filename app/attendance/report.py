"""Builds an event's attendance report: attendees, unknown participants, no-shows and shared links.

It combines Zoom's data with the registrations and the clicks on Join.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, or_, select

from app.accounts.models import Account, Host
from app.attendance import service
from app.attendance.match import Match, PossibleMember, SessionEvidence, match, normalize
from app.attendance.meeting_history import MeetingHistory, load_history
from app.attendance.participants import Participant
from app.attendance.sessions import Attendance, Interval, Session, attendance, union
from app.attendance.shared_links import RegistrantLink, SharedLink, find_shared_links, registrant_links
from app.core import database
from app.events import settings
from app.events.models import Event
from app.events.settings import AttendanceThreshold
from app.joining.models import Click
from app.joining.tickets import REDIRECTED
from app.meetings.models import Meeting
from app.registrations.models import Registration


@dataclass(frozen=True)
class Attendee:
    """A known member who was inside, and for each of their sessions the match that says why it is theirs."""

    member_id: str
    name: str
    is_host: bool
    attendance: Attendance
    matches: Mapping[UUID, Match]


@dataclass(frozen=True)
class UnknownParticipant:
    """A participant whom no method identifies."""

    session: Participant
    is_host: bool
    attendance: Attendance
    match: Match


@dataclass(frozen=True)
class Absentee:
    """A member who was not seen inside.

    `clicked_at` is their last redirect to Zoom, `waited` whether they were seen in Zoom's waiting room.
    """

    member_id: str
    name: str
    clicked_at: datetime | None
    waited: bool


@dataclass(frozen=True)
class AttendanceReport:
    """Who came to one event.

    `open_intervals` is the time its meeting was open, in order and without overlaps. `threshold` is what the community
    requires of an attendee.
    """

    event: Event
    threshold: AttendanceThreshold
    open_intervals: Sequence[Interval]
    attendees: Sequence[Attendee]
    unknown: Sequence[UnknownParticipant]
    clicked_never_seen: Sequence[Absentee]
    no_shows: Sequence[Absentee]
    shared_links: Sequence[SharedLink]


class ZoomUser(NamedTuple):
    """A user of the community's Zoom accounts, and whether they are a host or alternative host of the event."""

    host: Host
    hosts_event: bool

    def matches(self, participant: Participant) -> bool:
        """Return whether the participant is this user.

        The Zoom user id decides; where there is none, the address does. A host who is not signed in is recognized by
        name only. That is safe: it can rule out that a click led to the session, and assigns the session to nobody.
        """
        if participant.zoom_user_id:
            return participant.zoom_user_id == self.host.zoom_user_id
        if participant.registrant_id:
            return False
        if participant.email:
            return participant.email.lower() == (self.host.email or "").lower()
        return self.hosts_event and normalize(participant.name) == normalize(self.host.name) != ""


@dataclass
class _ReportInputs:
    """What is known of one event."""

    event: Event
    now: datetime
    history: MeetingHistory
    threshold: AttendanceThreshold
    candidates: Mapping[str, PossibleMember] = field(default_factory=dict)
    expected_members: frozenset[str] = frozenset()
    links: Mapping[str, RegistrantLink] = field(default_factory=dict)  # by registrant id
    zoom_users: Sequence[ZoomUser] = ()
    protected: frozenset[UUID] = frozenset()  # meetings nobody but the hosts enters without a registrant


async def build(tx: database.Tx, event: Event) -> AttendanceReport:
    """Return the report of one event, from what Zoom has reported so far."""
    community_settings = await settings.get(tx, event.community_id)
    inputs = _ReportInputs(event, tx.now, await load_history(tx, event), community_settings.attendance)
    await _load_registrations(tx, inputs)
    await _load_hosts(tx, inputs)
    assigned = {each.assigned_to for each in inputs.history.participants if each.assigned_to} - inputs.candidates.keys()
    names = await service.member_names(tx, event.community_id, assigned)
    inputs.candidates = {**inputs.candidates, **{each: PossibleMember(each, names.get(each, "")) for each in assigned}}
    return _build_report(inputs)


async def _load_registrations(tx: database.Tx, inputs: _ReportInputs) -> None:
    """Load everybody who answered, with their registrants at every meeting of the event, and their clicks."""
    inputs.links = await registrant_links(tx, inputs.event.id)
    ids: dict[str | None, set[str]] = {}
    for registrant_id, link in inputs.links.items():
        ids.setdefault(link.member_id, set()).add(registrant_id)
    candidates: dict[str, PossibleMember] = {}
    coming = set()
    for registration in await tx.session.scalars(select(Registration).where(Registration.event_id == inputs.event.id)):
        # An address that is not verified may belong to another person at Zoom.
        own = {registration.email} if registration.email_verified else set()
        candidates[registration.member_id] = PossibleMember(
            registration.member_id,
            registration.name,
            frozenset(own - {""}),
            frozenset(ids.get(registration.member_id, ())),
        )
        if registration.rsvp == "going" and registration.waiting_since is None:
            coming.add(registration.member_id)
    clicks = await tx.session.execute(
        select(Click.member_id, Click.clicked_at).where(
            Click.member_id.in_(candidates), Click.event_id == inputs.event.id, Click.outcome == REDIRECTED
        )
    )
    for member_id, clicked_at in clicks:
        candidates[member_id] = replace(candidates[member_id], clicks=candidates[member_id].clicks | {clicked_at})
    inputs.candidates = candidates
    inputs.expected_members = frozenset(coming)


async def _load_hosts(tx: database.Tx, inputs: _ReportInputs) -> None:
    """Load the event's hosts and every other Zoom user of the community who was seen, as possible members."""
    event = inputs.event
    participants = inputs.history.participants
    meetings = (await tx.session.scalars(select(Meeting).where(Meeting.event_id == event.id))).all()
    own = {event.host_id, *event.alternative_hosts, *(meeting.host_id for meeting in meetings)} - {None}
    ids = {each.zoom_user_id for each in participants if each.zoom_user_id}
    emails = {each.email.lower() for each in participants if each.email}
    rows = await tx.session.scalars(
        select(Host)
        .join(Account, Account.id == Host.account_id)
        .where(
            Account.community_id == event.community_id,
            or_(Host.id.in_(own), Host.zoom_user_id.in_(ids), func.lower(Host.email).in_(emails)),
        )
        .order_by(Host.id)
    )
    inputs.zoom_users = [ZoomUser(host, host.id in own) for host in rows]
    inputs.protected = frozenset(meeting.id for meeting in meetings if meeting.protected)
    candidates = dict(inputs.candidates)
    for host, _ in inputs.zoom_users:
        if host.member_id:
            candidate = candidates.get(host.member_id) or PossibleMember(host.member_id, host.name or "")
            addresses = candidate.emails | ({host.email} if host.email else set())
            users = candidate.zoom_user_ids | {host.zoom_user_id}
            candidates[host.member_id] = replace(candidate, emails=addresses, zoom_user_ids=users)
    inputs.candidates = candidates


def _build_report(inputs: _ReportInputs) -> AttendanceReport:
    event = inputs.event
    windows = inputs.history.counted_windows
    scheduled = Interval(event.starts_at, event.ends_at)
    sessions = {each.id: inputs.history.sessions_of(each) for each in inputs.history.participants}
    evidence = {each.id: _evidence(each, inputs) for each in inputs.history.participants}
    matches = match(list(evidence.values()), list(inputs.candidates.values()))
    hosts = {user.host.member_id for user in inputs.zoom_users if user.hosts_event} - {None}
    sessions_by_member: dict[str, list[Session]] = {}
    unknown = []
    for each in inputs.history.participants:
        member_id = matches[each.id].member_id
        if member_id is not None:
            sessions_by_member.setdefault(member_id, []).extend(sessions[each.id])
        elif result := attendance(sessions[each.id], scheduled, windows):
            is_host = any(user.hosts_event for user in inputs.zoom_users if user.matches(each))
            unknown.append(UnknownParticipant(each, is_host, result, matches[each.id]))
    attendees = []
    for member_id, member_sessions in sessions_by_member.items():
        if result := attendance(member_sessions, scheduled, windows):
            own = {session.session_id: matches[session.session_id] for session in result.sessions}
            attendees.append(Attendee(member_id, inputs.candidates[member_id].name, member_id in hosts, result, own))
    clicked, no_shows = _absentees(inputs, {each.member_id for each in attendees}, sessions_by_member.keys())
    return AttendanceReport(
        event,
        inputs.threshold,
        union(Interval(window.start, window.end) for window in windows),
        sorted(attendees, key=lambda each: (each.attendance.joined_at, each.member_id)),
        sorted(unknown, key=lambda each: (each.attendance.joined_at, each.session.id.bytes)),
        clicked,
        no_shows,
        find_shared_links(inputs.history.participants, sessions, inputs.links),
    )


def _evidence(participant: Participant, inputs: _ReportInputs) -> SessionEvidence:
    """Return the evidence for a participant.

    A click cannot lead to a session of the account's own Zoom users, to one by phone, or into a meeting where everybody
    has a registrant.
    """
    users = [user for user in inputs.zoom_users if user.matches(participant)]
    return SessionEvidence(
        participant.id,
        participant.first_seen,
        registrant_id=participant.registrant_id,
        zoom_user_id=participant.zoom_user_id,
        email=participant.email,
        name=participant.name,
        assigned_to=participant.assigned_to,
        is_host=any(user.hosts_event and user.host.member_id is None for user in users),
        click_possible=not (users or participant.by_phone or participant.meeting_id in inputs.protected),
    )


def _absentees(
    inputs: _ReportInputs, attendee_ids: set[str], waiting_ids: Iterable[str]
) -> tuple[list[Absentee], list[Absentee]]:
    """Return who clicked and was never seen, and who was coming and did not come (the no-shows).

    There are no no-shows before the event is over, or if Zoom reported no participant at all: then we know nothing.
    """
    waited_ids = set(waiting_ids)
    clicked, no_shows = [], []
    no_shows_known = bool(inputs.history.participants) and inputs.event.status(inputs.now) == "ended"
    for member_id, candidate in sorted(inputs.candidates.items(), key=lambda item: (item[1].name.casefold(), item[0])):
        absentee = Absentee(member_id, candidate.name, max(candidate.clicks, default=None), member_id in waited_ids)
        if member_id in attendee_ids:
            continue
        if candidate.clicks:
            clicked.append(absentee)
        if no_shows_known and member_id in inputs.expected_members:
            no_shows.append(absentee)
    return clicked, no_shows
