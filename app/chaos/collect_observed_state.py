"""Reads the final state of a run: from the API, the database, Zoom, and the mails."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from icalendar import Calendar

from app.chaos.community import Community
from app.chaos.member_clients import email_of, member_id_of
from app.chaos.observed_state import (
    EndedInstance,
    Event,
    HookMessage,
    InvitationMail,
    MeetingAtZoom,
    NotificationAttempt,
    ObservedSession,
    ObservedState,
    OutboxEntry,
    Registration,
)
from app.chaos.workload_plan import ADMIN, MEMBERS
from app.devstack import mailbox

EVENTS = """
SELECT events.id, zoom_meeting_id AS number FROM events
LEFT JOIN meetings ON meetings.event_id = events.id AND state NOT IN ('retiring', 'retired')
"""
REGISTRATIONS = "SELECT id, event_id, member_id FROM registrations"
MESSAGES = "SELECT id, kind, subject, body, state FROM hook_messages ORDER BY created_at"
INTERPRETED_DIGESTS = "SELECT encode(digest, 'hex') AS digest FROM deliveries WHERE interpreted_at IS NOT NULL"
POSTS = "SELECT event_id, sequence, text FROM live_posts WHERE kind = 'message' ORDER BY event_id, sequence"
ROWS = """
SELECT id, job, key, reason, dead_at IS NOT NULL AS dead,
    CASE WHEN lease IS NOT NULL THEN EXTRACT(EPOCH FROM clock_timestamp() - claimed_until)::float8 END AS overdue
FROM outbox
"""
VALIDATION = "endpoint.url_validation"
PEOPLE = {f"m{number}": email_of(f"m{number}") for number in range(MEMBERS)}
MEMBER_BY_ID = {member_id_of(who): who for who in PEOPLE}


async def collect_observed_state(community: Community) -> ObservedState:
    """Read the final state of a run from the API, the database, Zoom and the mails, as plain values."""
    environment = community.environment
    database = await asyncpg.connect(environment.database_url)
    try:
        events = {
            str(row["id"]): await _event(community, str(row["id"]), row["number"])
            for row in await database.fetch(EVENTS)
        }
        ids = {(str(row["event_id"]), row["member_id"]): str(row["id"]) for row in await database.fetch(REGISTRATIONS)}
        registrations = [one for event in events for one in await _registrations(community, event, ids)]
        posts: dict[str, list[tuple[int, str]]] = {}
        for row in await database.fetch(POSTS):
            posts.setdefault(str(row["event_id"]), []).append((row["sequence"], row["text"]))
        interpreted = frozenset(row["digest"] for row in await database.fetch(INTERPRETED_DIGESTS))
        messages = tuple(_message(row) for row in await database.fetch(MESSAGES))
        rows = tuple(OutboxEntry(**row) for row in await database.fetch(ROWS))
    finally:
        await database.close()
    delivery_attempts = [one for one in await environment.zoom.deliveries() if one["event"] != VALIDATION]
    return ObservedState(
        events,
        tuple(registrations),
        {str(one["id"]): _meeting(one) for one in (await environment.zoom.control("GET", "state"))["meetings"]},
        tuple(await environment.zoom.journal()),
        tuple(_notification_attempt(one) for one in delivery_attempts),
        interpreted,
        tuple(read_invitations(environment.mailbox.all())),
        messages,
        rows,
        {event: tuple(found) for event, found in posts.items()},
    )


def observed_values(observed: ObservedState) -> dict[tuple[str, str], Any]:
    """Return the values the API shows, by subject, with the same keys as `ExpectedValues`."""
    found: dict[tuple[str, str], Any] = {(one.event, one.who): one.rsvp for one in observed.registrations}
    for event in observed.events.values():
        found |= {
            (event.id, "title"): event.title,
            (event.id, "starts_at"): event.starts_at,
            (event.id, "cancelled"): event.status == "cancelled",
        }
    return found


async def _event(community: Community, event_id: str, number: int | None) -> Event:
    """Return an event.

    `number` is its meeting's number, which the API no longer shows once the event is over.
    """
    body = await community.clients.get_when_available(ADMIN, f"/api/events/{event_id}")
    zoom = body["zoom"] or {}
    attendance: Mapping[str, tuple[ObservedSession, ...]] = {}
    if body["status"] == "ended":
        report = await community.clients.get_when_available(ADMIN, f"/api/events/{event_id}/attendance")
        attendance = {
            MEMBER_BY_ID[one["member_id"]]: _sessions(one)
            for one in report["items"]
            if one["member_id"] in MEMBER_BY_ID
        }
    return Event(
        event_id,
        body["title"],
        _parse_time(body["starts_at"]),
        _parse_time(body["ends_at"]),
        body["status"],
        zoom.get("meeting_id") or (str(number) if number else None),
        zoom.get("state"),
        len(zoom.get("differences", [])),
        attendance,
    )


async def _registrations(
    community: Community, event_id: str, ids: Mapping[tuple[str, str], str]
) -> Sequence[Registration]:
    body = await community.clients.get_when_available(ADMIN, f"/api/events/{event_id}/registrations?limit=200")
    return [
        Registration(
            ids[event_id, one["member_id"]],
            event_id,
            MEMBER_BY_ID[one["member_id"]],
            one["email"],
            one["status"],
            (one["registrant"] or {}).get("state"),
            (one["registrant"] or {}).get("reason"),
        )
        for one in body["items"]
    ]


def _sessions(one: Mapping[str, Any]) -> tuple[ObservedSession, ...]:
    return tuple(
        ObservedSession(_parse_time(stay["joined_at"]), _parse_time(stay["left_at"]) if stay["left_at"] else None)
        for stay in one["sessions"]
    )


def _meeting(one: Mapping[str, Any]) -> MeetingAtZoom:
    approved = {each["email"] for each in one["registrants"] if each["status"] == "approved"}
    addresses = {each["id"]: each["email"] for each in one["registrants"]}
    ended_instances = tuple(_ended_instance(each, addresses) for each in one["instances"] if each["ended_at"])
    starts_at = _parse_time(one["start_time"])
    return MeetingAtZoom(str(one["id"]), one["topic"], starts_at, one["duration"], frozenset(approved), ended_instances)


def _ended_instance(one: Mapping[str, Any], addresses: Mapping[str, str]) -> EndedInstance:
    sessions: dict[str, list[ObservedSession]] = {}
    for each in one["participants"]:
        if each["registrant_id"]:
            left = _parse_time(each["leave_time"]) if each["leave_time"] else None
            sessions.setdefault(addresses[each["registrant_id"]], []).append(
                ObservedSession(_parse_time(each["join_time"]), left)
            )
    sessions_by_email = {email: tuple(found) for email, found in sessions.items()}
    return EndedInstance(_parse_time(one["started_at"]), _parse_time(one["ended_at"]), sessions_by_email)


def _notification_attempt(one: Mapping[str, Any]) -> NotificationAttempt:
    body = one["body"] or ""
    subject = json.loads(body)["payload"].get("object", {}) if body else {}
    digest = hashlib.sha256(body.encode()).hexdigest() if body else ""
    return NotificationAttempt(digest, one["event"], str(subject.get("id", "")), one["outcome"])


def _message(row: Mapping[str, Any]) -> HookMessage:
    return HookMessage(str(row["id"]), row["kind"], str(row["subject"]), row["body"], row["state"])


def read_invitations(mails: Iterable[mailbox.Mail]) -> Iterable[InvitationMail]:
    """Yield the invitations among the mails, in order of arrival."""
    for mail in mails:
        for part in mail.message.walk():
            if part.get_content_type() == "text/calendar":
                yield _invitation(part.get_content())


def _invitation(text: str) -> InvitationMail:
    calendar = Calendar.from_ical(text)
    entry: Any = calendar.walk("VEVENT")[0]
    return InvitationMail(
        str(entry["UID"]).partition("@")[0],
        int(str(entry["SEQUENCE"])),
        str(calendar["METHOD"]),
        str(entry["SUMMARY"]),
        entry["DTSTART"].dt,
        str(entry.get("STATUS", "")) == "TENTATIVE",
    )


def _parse_time(text: str) -> datetime:
    """Parse a time and cut it to the second, as Zoom reports no fractions."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)
