"""The observed state of a small run in which every invariant holds. Tests change one thing in it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from app.chaos.failing_webhook_receiver import HookArrival
from app.chaos.live_stream_client import Frame, LiveStreamClient
from app.chaos.observed_state import (
    EndedInstance,
    Event,
    HookMessage,
    InvitationMail,
    MeetingAtZoom,
    NotificationAttempt,
    ObservedSession,
    Registration,
)

STARTS = datetime(2027, 3, 1, 19, tzinfo=UTC)
ENDS = STARTS + timedelta(hours=1)
SESSION = ObservedSession(STARTS + timedelta(seconds=10), STARTS + timedelta(seconds=70))
EMAILS = {"m1": "m1@members.example", "m2": "m2@members.example"}

PLANNED = Event("e1", "Circle", STARTS, ENDS, "scheduled", "81", "scheduled")
CANCELLED = Event("e2", "Off", STARTS, ENDS, "cancelled", "82", "retired")
ENDED_EVENT = Event("e3", "Evening", STARTS, ENDS, "ended", "83", "scheduled", attendance={"m1": (SESSION,)})
EVENTS = {event.id: event for event in (PLANNED, CANCELLED, ENDED_EVENT)}

ENDED_INSTANCE = EndedInstance(STARTS, STARTS + timedelta(minutes=2), {EMAILS["m1"]: (SESSION,)})
MEETINGS = {
    "81": MeetingAtZoom("81", "Circle", STARTS, 60, frozenset({EMAILS["m1"]})),
    "83": MeetingAtZoom("83", "Evening", STARTS, 60, frozenset({EMAILS["m1"]}), (ENDED_INSTANCE,)),
}
GOING = Registration("r1", "e1", "m1", EMAILS["m1"], "going", "ready")
NOT_GOING = Registration("r2", "e1", "m2", EMAILS["m2"], "not_going", "cancelled")
CAME = Registration("r3", "e3", "m1", EMAILS["m1"], "going", "ready")
REGISTRATIONS = (GOING, NOT_GOING, CAME)
MAILS = (
    InvitationMail("r1", 0, "REQUEST", "Circle, at first", STARTS, tentative=False),
    InvitationMail("r2", 0, "REQUEST", "Circle", STARTS, tentative=True),
    InvitationMail("r1", 1, "REQUEST", "Circle", STARTS, tentative=False),
    InvitationMail("r1", 1, "REQUEST", "Circle", STARTS, tentative=False),
    InvitationMail("r2", 1, "CANCEL", "Circle", STARTS, tentative=False),
)


def rsvp_body(registration: str, rsvp: str, second: int = 1) -> str:
    """Return the body of a message about an RSVP."""
    return (
        f'{{"timestamp":"2027-03-01T18:00:0{second}Z","data":{{"registration_id":"{registration}","rsvp":"{rsvp}"}}}}'
    )


LIVE_BODY, ENDED_BODY = '{"data":{"event_id":"e3","status":"live"}}', '{"data":{"event_id":"e3","status":"ended"}}'
MESSAGES = (
    HookMessage("h1", "event.live", "e3", LIVE_BODY, "delivered"),
    HookMessage("h2", "event.ended", "e3", ENDED_BODY, "delivered"),
    HookMessage("h3", "registration.changed", "r1", rsvp_body("r1", "going"), "delivered"),
    HookMessage("h4", "registration.changed", "r2", rsvp_body("r2", "not_going"), "delivered"),
    HookMessage("h5", "registration.changed", "r3", rsvp_body("r3", "going"), "delivered"),
)
ARRIVALS = (
    HookArrival("h1", LIVE_BODY, "event.live", "e3", taken=False),
    HookArrival("h1", LIVE_BODY, "event.live", "e3", taken=True),
    HookArrival("h2", ENDED_BODY, "event.ended", "e3", taken=True),
    HookArrival("h2", ENDED_BODY, "event.ended", "e3", taken=True),
    HookArrival("h3", rsvp_body("r1", "going"), "registration.changed", "e1", taken=True),
    HookArrival("h4", rsvp_body("r2", "not_going"), "registration.changed", "e1", taken=True),
    HookArrival("h5", rsvp_body("r3", "going"), "registration.changed", "e3", taken=True),
)
ATTEMPTS = (
    NotificationAttempt("d1", "meeting.started", "83", "to be retried"),
    NotificationAttempt("d1", "meeting.started", "83", "delivered"),
    NotificationAttempt("d2", "meeting.ended", "83", "delivered"),
    NotificationAttempt("", "meeting.updated", "", "lost"),
)
INTERPRETED = frozenset({"d1", "d2"})
POSTS = {"e3": ((3, "Hello"), (5, "Bye"))}
CHAT = {"e3": [("Hello", True), ("Bye", True), ("Nobody knows", False)]}


def stream_client(*frames: tuple[int, str]) -> LiveStreamClient:
    """Return a page that received these messages."""
    messages = [Frame(number, "message", f'{{"text":"{text}"}}') for number, text in frames]
    return LiveStreamClient("http://api-1", "e3", {}, [Frame(1, "state", "{}"), *messages])


def journal_entry(operation: str, status: int | None = 201, fault: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return an entry of Zoom's journal."""
    entry = {"operation": operation, "path": "/v2/meetings/81/registrants", "user_id": "host", "body": None}
    return entry | {"status": status, "fault": fault} | fields


def add_call(status: int | None = 201, fault: str | None = None) -> dict[str, Any]:
    """Return a call that adds the second member to the planned event's meeting."""
    return journal_entry("meetingRegistrantCreate", status, fault, body={"email": EMAILS["m2"]})
