"""Reading what is left once everything is quiet: at the API, in the database, at Zoom, and what came by mail."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from icalendar import Calendar

from app.chaos.community import Community
from app.chaos.happenings import ADMIN, MEMBERS
from app.chaos.people import email_of, member_id_of
from app.chaos.seen import Event, Held, Mail, Meeting, Message, Registration, Row, Said, Seen, Stay
from app.demo import mailbox

EVENTS = """
SELECT events.id, zoom_meeting_id AS number FROM events
LEFT JOIN meetings ON meetings.event_id = events.id AND state NOT IN ('retiring', 'retired')
"""
REGISTRATIONS = "SELECT id, event_id, member_id FROM registrations"
MESSAGES = "SELECT id, kind, subject, body, state FROM hook_messages ORDER BY created_at"
INTERPRETED = "SELECT encode(digest, 'hex') AS digest FROM deliveries WHERE interpreted_at IS NOT NULL"
POSTS = "SELECT event_id, sequence, text FROM live_posts WHERE kind = 'message' ORDER BY event_id, sequence"
ROWS = """
SELECT id, reaction, key, reason, dead_at IS NOT NULL AS dead,
    CASE WHEN lease IS NOT NULL THEN EXTRACT(EPOCH FROM clock_timestamp() - claimed_until)::float8 END AS overdue
FROM outbox
"""
VALIDATION = "endpoint.url_validation"
PEOPLE = {f"m{number}": email_of(f"m{number}") for number in range(MEMBERS)}
BY_ID = {member_id_of(who): who for who in PEOPLE}


async def gathered(community: Community) -> Seen:
    """Everything, as values."""
    stage = community.stage
    database = await asyncpg.connect(stage.database_url)
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
        interpreted = frozenset(row["digest"] for row in await database.fetch(INTERPRETED))
        messages = tuple(_message(row) for row in await database.fetch(MESSAGES))
        rows = tuple(Row(**row) for row in await database.fetch(ROWS))
    finally:
        await database.close()
    said = [one for one in await stage.zoom.deliveries() if one["event"] != VALIDATION]
    return Seen(
        events,
        tuple(registrations),
        {str(one["id"]): _meeting(one) for one in (await stage.zoom.control("GET", "state"))["meetings"]},
        tuple(await stage.zoom.journal()),
        tuple(_said(one) for one in said),
        interpreted,
        tuple(read(stage.mailbox.all())),
        messages,
        rows,
        {event: tuple(found) for event, found in posts.items()},
    )


def words(seen: Seen) -> dict[tuple[str, str], Any]:
    """What the service says, by what it is about, as wishes name it."""
    found: dict[tuple[str, str], Any] = {(one.event, one.who): one.rsvp for one in seen.registrations}
    for event in seen.events.values():
        found |= {
            (event.id, "title"): event.title,
            (event.id, "starts_at"): event.starts_at,
            (event.id, "cancelled"): event.status == "cancelled",
        }
    return found


async def _event(community: Community, event_id: str, number: int | None) -> Event:
    """`number` is the meeting's that serves it: of what is over it is not shown any more."""
    said = await community.people.until(ADMIN, f"/api/events/{event_id}")
    zoom = said["zoom"] or {}
    attendance: Mapping[str, tuple[Stay, ...]] = {}
    if said["status"] == "ended":
        report = await community.people.until(ADMIN, f"/api/events/{event_id}/attendance")
        attendance = {BY_ID[one["member_id"]]: _stays(one) for one in report["items"] if one["member_id"] in BY_ID}
    return Event(
        event_id,
        said["title"],
        _moment(said["starts_at"]),
        _moment(said["ends_at"]),
        said["status"],
        zoom.get("meeting_id") or (str(number) if number else None),
        zoom.get("state"),
        len(zoom.get("differences", [])),
        attendance,
    )


async def _registrations(
    community: Community, event_id: str, ids: Mapping[tuple[str, str], str]
) -> Sequence[Registration]:
    said = await community.people.until(ADMIN, f"/api/events/{event_id}/registrations?limit=200")
    return [
        Registration(
            ids[event_id, one["member_id"]],
            event_id,
            BY_ID[one["member_id"]],
            one["email"],
            one["status"],
            (one["registrant"] or {}).get("state"),
            (one["registrant"] or {}).get("reason"),
        )
        for one in said["items"]
    ]


def _stays(one: Mapping[str, Any]) -> tuple[Stay, ...]:
    return tuple(
        Stay(_moment(stay["joined_at"]), _moment(stay["left_at"]) if stay["left_at"] else None)
        for stay in one["sessions"]
    )


def _meeting(one: Mapping[str, Any]) -> Meeting:
    approved = {each["email"] for each in one["registrants"] if each["status"] == "approved"}
    addresses = {each["id"]: each["email"] for each in one["registrants"]}
    held = tuple(_held(each, addresses) for each in one["instances"] if each["ended_at"])
    starts_at = _moment(one["start_time"])
    return Meeting(str(one["id"]), one["topic"], starts_at, one["duration"], frozenset(approved), held)


def _held(one: Mapping[str, Any], addresses: Mapping[str, str]) -> Held:
    stays: dict[str, list[Stay]] = {}
    for each in one["participants"]:
        if each["registrant_id"]:
            left = _moment(each["leave_time"]) if each["leave_time"] else None
            stays.setdefault(addresses[each["registrant_id"]], []).append(Stay(_moment(each["join_time"]), left))
    ended = {email: tuple(found) for email, found in stays.items()}
    return Held(_moment(one["started_at"]), _moment(one["ended_at"]), ended)


def _said(one: Mapping[str, Any]) -> Said:
    body = one["body"] or ""
    about = json.loads(body)["payload"].get("object", {}) if body else {}
    digest = hashlib.sha256(body.encode()).hexdigest() if body else ""
    return Said(digest, one["event"], str(about.get("id", "")), one["outcome"])


def _message(row: Mapping[str, Any]) -> Message:
    return Message(str(row["id"]), row["kind"], str(row["subject"]), row["body"], row["state"])


def read(mails: Iterable[mailbox.Mail]) -> Iterable[Mail]:
    """The invites among the mails, in the order they came."""
    for mail in mails:
        for part in mail.message.walk():
            if part.get_content_type() == "text/calendar":
                yield _invite(part.get_content())


def _invite(text: str) -> Mail:
    calendar = Calendar.from_ical(text)
    entry: Any = calendar.walk("VEVENT")[0]
    return Mail(
        str(entry["UID"]).partition("@")[0],
        int(str(entry["SEQUENCE"])),
        str(calendar["METHOD"]),
        str(entry["SUMMARY"]),
        entry["DTSTART"].dt,
        str(entry.get("STATUS", "")) == "TENTATIVE",
    )


def _moment(text: str) -> datetime:
    """To the second, as Zoom says times."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)
