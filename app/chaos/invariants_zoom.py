"""Invariants between what was accepted, what the API shows, and what Zoom has. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.chaos.community import JoinClick
from app.chaos.expected_values import ExpectedValue
from app.chaos.findings import Finding
from app.chaos.observed_state import Event, MeetingAtZoom, NotificationAttempt, Registration

Subject = tuple[str, str]
ADD = "meetingRegistrantCreate"
CHANGE_STATUS = "meetingRegistrantStatus"
CREATE = "meetingCreate"
UPDATE = "meetingUpdate"
DAILY = {ADD: 3, CHANGE_STATUS: 10, CREATE: 100, UPDATE: 100}
TOO_MANY = 429
PAGE_IS_THERE = 200
NOT_READY = "not-ready"
# The notifications that report who was inside a meeting, and when.
ATTENDANCE_EVENTS = ("meeting.started", "meeting.ended", "meeting.participant_joined", "meeting.participant_left")


def nothing_accepted_is_lost(expected: Mapping[Subject, ExpectedValue], found: Mapping[Subject, Any]) -> Finding:
    """What the API shows at the end is the last accepted value, or one whose request got no response."""
    finding = Finding("what was accepted last is what the service says")
    for (event, attribute), value in expected.items():
        observed = found.get((event, attribute))
        possibilities = " or ".join(str(possibility) for possibility in value.possible)
        finding.expect(observed in value.possible, f"event {event}, {attribute}: {observed} instead of {possibilities}")
    return finding


def meetings_equal_events(events: Mapping[str, Event], meetings: Mapping[str, MeetingAtZoom]) -> Finding:
    """Every upcoming event has one meeting at Zoom that equals it.

    Cancelled events have none, and none is left over.
    """
    finding = Finding("Zoom has one meeting for each event, as the event is")
    for event in events.values():
        meeting = meetings.get(event.meeting or "")
        if event.status == "cancelled":
            finding.expect(meeting is None, f"event {event.id} is cancelled, and Zoom has meeting {event.meeting}")
        elif event.is_upcoming and event.state == "unknown" and event.meeting is None:
            finding.excuse(f"event {event.id}: nobody answered the creation, and Zoom has ten minutes to tell of it")
        elif event.is_upcoming:
            difference = _difference(event, meeting)
            finding.expect(difference is None, f"event {event.id}: {difference}")
    serving = Counter(event.meeting for event in events.values() if event.meeting)
    for number in meetings:
        finding.expect(serving[number] == 1, f"meeting {number} at Zoom serves {serving[number]} events")
    return finding


def _difference(event: Event, meeting: MeetingAtZoom | None) -> str | None:
    if meeting is None:
        return f"no meeting at Zoom (here {event.state}, {event.meeting})"
    minutes = -(-(event.ends_at - event.starts_at) // timedelta(minutes=1))
    wanted, found = (event.title, event.starts_at, minutes), (meeting.topic, meeting.starts_at, meeting.minutes)
    if wanted != found:
        return f"wanted {_describe(wanted)}, at Zoom {_describe(found)} (meeting {meeting.number}, here {event.state})"
    if event.state != "scheduled" or event.differences:
        return f"is the same at Zoom, and here {event.state} with {event.differences} differences"
    return None


def _describe(fields: tuple[str, datetime, int]) -> str:
    return f"{fields[0]!r} at {fields[1]:%Y-%m-%dT%H:%M:%SZ} for {fields[2]} min"


def registrants_equal_rsvps(
    events: Mapping[str, Event],
    registrations: Iterable[Registration],
    meetings: Mapping[str, MeetingAtZoom],
    journal: Iterable[Mapping[str, Any]],
) -> Finding:
    """While an event is upcoming, exactly the members who are going are approved at Zoom.

    The API says the same.

    A member who was added three times today waits for midnight. That is excused if Zoom was really asked that often.
    """
    finding = Finding("approved at Zoom is who is going, and we say so")
    add_calls = Counter(_quota_key(entry) for entry in journal if entry["operation"] == ADD)
    for one in registrations:
        event = events[one.event]
        meeting = meetings.get(event.meeting or "")
        if not event.is_upcoming or meeting is None:
            continue
        going, there = one.rsvp == "going", one.email in meeting.approved
        about = (
            f"event {one.event}, {one.who} ({one.rsvp}, here {one.registrant}: {one.reason}), meeting {meeting.number}"
        )
        if going and not there and add_calls[f"{ADD} {meeting.number} {one.email}"] >= DAILY[ADD]:
            finding.excuse(f"{about}: three adds were made today")
            continue
        finding.expect(going == there, f"{about}: at Zoom {'approved' if there else 'not approved'}")
        finding.expect(not going or not there or one.registrant == "ready", f"{about}: approved at Zoom")
    known = {(one.event, one.email) for one in registrations}
    for event in events.values():
        meeting = meetings.get(event.meeting or "")
        for email in meeting.approved if meeting else ():
            finding.expect((event.id, email) in known, f"event {event.id}: {email} is approved and has not answered")
    return finding


def quotas_hold(journal: Sequence[Mapping[str, Any]]) -> Finding:
    """Zoom is never asked again for what it refuses until tomorrow."""
    finding = Finding("no daily quota of Zoom's is exceeded")
    used = Counter[str]()
    for entry in journal:
        if entry["operation"] not in DAILY:
            continue
        for quota_key in _quota_keys(entry):
            limit = DAILY[entry["operation"]]
            refused = entry["status"] == TOO_MANY and entry["fault"] is None
            finding.expect(
                not refused or used[quota_key] < limit, f"{quota_key} was asked for again after {limit} times"
            )
            done = entry["status"] is not None and entry["status"] < 300
            used[quota_key] += done or entry["fault"] == "lose_answer"
    return finding


def _quota_key(entry: Mapping[str, Any]) -> str:
    return next(iter(_quota_keys(entry)))


def _quota_keys(entry: Mapping[str, Any]) -> list[str]:
    """Return what a call is counted by: the address at the meeting, the registrant, the host."""
    parts = entry["path"].split("/")
    body = entry["body"] if isinstance(entry["body"], dict) else {}
    if entry["operation"] == ADD:
        return [f"{ADD} {parts[3]} {body.get('email', '')}"]
    if entry["operation"] == CHANGE_STATUS:
        return [f"{CHANGE_STATUS} {each.get('id') or each.get('email')}" for each in body.get("registrants", [])]
    return [f"{CREATE} {entry['user_id'] if entry['operation'] == CREATE else parts[3]}"]


def attendance_is_exact(
    events: Mapping[str, Event],
    meetings: Mapping[str, MeetingAtZoom],
    attempts: Iterable[NotificationAttempt],
    emails: Mapping[str, str],
) -> Finding:
    """The attendance is known to the second, wherever Zoom could report all of it.

    `emails` are the members' addresses.
    """
    finding = Finding("attendance is to the second what happened inside Zoom")
    attendance_attempts = [one for one in attempts if one.event in ATTENDANCE_EVENTS]
    delivered = {one.digest for one in attendance_attempts if one.outcome == "delivered"}
    meetings_without_delivery = {one.meeting for one in attendance_attempts if one.digest not in delivered}
    for event in events.values():
        meeting = meetings.get(event.meeting or "")
        if meeting is None or not meeting.ended_instances:
            continue
        if meeting.number in meetings_without_delivery:
            finding.excuse(f"event {event.id}: Zoom could not tell all of it")
            continue
        expected_sessions: dict[str, list[Any]] = {}
        for instance in meeting.ended_instances:
            if instance.ended >= event.starts_at:
                for email, sessions in instance.sessions.items():
                    expected_sessions.setdefault(email, []).extend(sessions)
        for who in {*event.attendance, *(who for who, email in emails.items() if email in expected_sessions)}:
            wanted, found = (
                sorted(expected_sessions.get(emails[who], []), key=str),
                sorted(event.attendance.get(who, ()), key=str),
            )
            finding.expect(wanted == found, f"event {event.id}, {who}: was inside {wanted}, here {found}")
    return finding


def clicks_end_in_the_meeting(clicks: Iterable[JoinClick]) -> Finding:
    """Zoom admits members who are going and click on Join while the event is live, or they must wait."""
    finding = Finding("a click on Join ends in the meeting")
    for one in clicks:
        about = f"event {one.event}, {one.who}"
        if not one.certainly_going:
            finding.excuse(f"{about} had a change of mind under way")
        elif one.status is None:
            finding.expect(one.slug == NOT_READY, f"{about} was refused: {one.slug}")
        else:
            finding.expect(one.status == PAGE_IS_THERE, f"{about}: Zoom's page answered {one.status}")
    return finding
