"""A small world in which everything holds, for tests that break one thing of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from app.chaos.hook_receiver import Arrival
from app.chaos.listeners import Frame, Listener
from app.chaos.seen import Event, Held, Mail, Meeting, Message, Registration, Said, Stay

STARTS = datetime(2027, 3, 1, 19, tzinfo=UTC)
ENDS = STARTS + timedelta(hours=1)
STAYED = Stay(STARTS + timedelta(seconds=10), STARTS + timedelta(seconds=70))
EMAILS = {"m1": "m1@members.example", "m2": "m2@members.example"}

PLANNED = Event("e1", "Circle", STARTS, ENDS, "scheduled", "81", "scheduled")
CANCELLED = Event("e2", "Off", STARTS, ENDS, "cancelled", "82", "retired")
HELD = Event("e3", "Evening", STARTS, ENDS, "ended", "83", "scheduled", attendance={"m1": (STAYED,)})
EVENTS = {event.id: event for event in (PLANNED, CANCELLED, HELD)}

HOLDING = Held(STARTS, STARTS + timedelta(minutes=2), {EMAILS["m1"]: (STAYED,)})
MEETINGS = {
    "81": Meeting("81", "Circle", STARTS, 60, frozenset({EMAILS["m1"]})),
    "83": Meeting("83", "Evening", STARTS, 60, frozenset({EMAILS["m1"]}), (HOLDING,)),
}
GOING = Registration("r1", "e1", "m1", EMAILS["m1"], "going", "ready")
NOT_GOING = Registration("r2", "e1", "m2", EMAILS["m2"], "not_going", "cancelled")
CAME = Registration("r3", "e3", "m1", EMAILS["m1"], "going", "ready")
REGISTRATIONS = (GOING, NOT_GOING, CAME)
MAILS = (
    Mail("r1", 0, "REQUEST", "Circle, at first", STARTS, tentative=False),
    Mail("r2", 0, "REQUEST", "Circle", STARTS, tentative=True),
    Mail("r1", 1, "REQUEST", "Circle", STARTS, tentative=False),
    Mail("r1", 1, "REQUEST", "Circle", STARTS, tentative=False),
    Mail("r2", 1, "CANCEL", "Circle", STARTS, tentative=False),
)


def changed(registration: str, rsvp: str, second: int = 1) -> str:
    """The body of a message about an answer."""
    return (
        f'{{"timestamp":"2027-03-01T18:00:0{second}Z","data":{{"registration_id":"{registration}","rsvp":"{rsvp}"}}}}'
    )


LIVE, ENDED = '{"data":{"event_id":"e3","status":"live"}}', '{"data":{"event_id":"e3","status":"ended"}}'
MESSAGES = (
    Message("h1", "event.live", "e3", LIVE, "delivered"),
    Message("h2", "event.ended", "e3", ENDED, "delivered"),
    Message("h3", "registration.changed", "r1", changed("r1", "going"), "delivered"),
    Message("h4", "registration.changed", "r2", changed("r2", "not_going"), "delivered"),
    Message("h5", "registration.changed", "r3", changed("r3", "going"), "delivered"),
)
ARRIVALS = (
    Arrival("h1", LIVE, "event.live", "e3", taken=False),
    Arrival("h1", LIVE, "event.live", "e3", taken=True),
    Arrival("h2", ENDED, "event.ended", "e3", taken=True),
    Arrival("h2", ENDED, "event.ended", "e3", taken=True),
    Arrival("h3", changed("r1", "going"), "registration.changed", "e1", taken=True),
    Arrival("h4", changed("r2", "not_going"), "registration.changed", "e1", taken=True),
    Arrival("h5", changed("r3", "going"), "registration.changed", "e3", taken=True),
)
SAID = (
    Said("d1", "meeting.started", "83", "to be retried"),
    Said("d1", "meeting.started", "83", "delivered"),
    Said("d2", "meeting.ended", "83", "delivered"),
    Said("", "meeting.updated", "", "lost"),
)
INTERPRETED = frozenset({"d1", "d2"})
POSTS = {"e3": ((3, "Hello"), (5, "Bye"))}
CHAT = {"e3": [("Hello", True), ("Bye", True), ("Nobody knows", False)]}


def listener(*frames: tuple[int, str]) -> Listener:
    """A page that saw these messages."""
    said = [Frame(number, "message", f'{{"text":"{text}"}}') for number, text in frames]
    return Listener("http://api-1", "e3", {}, [Frame(1, "state", "{}"), *said])


def call(operation: str, status: int | None = 201, fault: str | None = None, **said: Any) -> dict[str, Any]:
    """An entry of Zoom's journal."""
    entry = {"operation": operation, "path": "/v2/meetings/81/registrants", "user_id": "host", "body": None}
    return entry | {"status": status, "fault": fault} | said


def add(status: int | None = 201, fault: str | None = None) -> dict[str, Any]:
    """The second member is added at the planned event's meeting."""
    return call("meetingRegistrantCreate", status, fault, body={"email": EMAILS["m2"]})
