"""The plan: what an event wants of its Zoom meeting, and what of that Zoom does not have yet. Pure.

A plan is a plain JSON object in Zoom's own names, so that the one Zoom last accepted can be stored and compared.
Limits: developers.zoom.us/docs/api/meetings/#tag/meetings/POST/users/{userId}/meetings
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from app.clients.zoom import Meeting, MeetingBody
from app.clients.zoom.notifications import moment
from app.core.cleaning import line, lines

AUTOMATIC_APPROVAL: Final = 0
MANUAL_APPROVAL: Final = 1
NO_REGISTRATION: Final = 2
MAX_TOPIC, MAX_AGENDA = 200, 2000
UNTITLED = "Event"  # where a title has nothing that one sees; Zoom wants a topic
Plan = dict[str, Any]

# What people may change inside Zoom, and what registration depends on: shown when Zoom says otherwise.
COMPARED = ("topic", "start_time", "duration")
COMPARED_SETTINGS = ("approval_type", "waiting_room", "auto_recording", "allow_multiple_devices", "show_share_button")


@dataclass(frozen=True)
class Wishes:
    """Everything of an event, its space and its host that Zoom is to know."""

    title: str
    description: str
    starts_at: datetime
    ends_at: datetime
    timezone: str
    marker: str
    licensed: bool
    can_record: bool
    record: bool = True
    waiting_room: bool = False
    mute_upon_entry: bool = False
    participant_video: bool = False
    # Zoom user ids: they stay when an address changes, and name nobody.
    alternative_hosts: Sequence[str] = ()


def plan(wishes: Wishes) -> Plan:
    """The whole plan. Registration needs a licensed host; without one the waiting room stands in for it."""
    return {
        "topic": line(wishes.title)[:MAX_TOPIC] or UNTITLED,
        "agenda": f"{wishes.marker}\n{lines(wishes.description)}"[:MAX_AGENDA].rstrip(),
        "start_time": _utc(wishes.starts_at),
        "duration": minutes(wishes.starts_at, wishes.ends_at),
        "timezone": wishes.timezone,
        "settings": {
            "approval_type": MANUAL_APPROVAL if wishes.licensed else NO_REGISTRATION,
            "auto_recording": "cloud" if wishes.record and wishes.can_record else "none",
            "waiting_room": wishes.waiting_room or not wishes.licensed,
            "mute_upon_entry": wishes.mute_upon_entry,
            "participant_video": wishes.participant_video,
            "join_before_host": False,
            "use_pmi": False,
            "allow_multiple_devices": False,
            "show_share_button": False,
            "alternative_hosts": ";".join(sorted(wishes.alternative_hosts)),
            "alternative_hosts_email_notification": False,
            "email_notification": False,
            "registrants_email_notification": False,
            "registrants_confirmation_email": False,
        },
    }


def minutes(starts_at: datetime, ends_at: datetime) -> int:
    """A length in whole minutes, rounded up, within Zoom's 1 to 1440."""
    return min(1440, max(1, -(-(ends_at - starts_at) // timedelta(minutes=1))))


def creation(plan: Plan, passcode: str) -> MeetingBody:
    """The body that creates the meeting. A passcode of ours keeps Zoom from imposing the waiting room instead."""
    settings = {**plan["settings"], "show_join_info": False}
    return _body({**plan, "type": 2, "password": passcode, "settings": settings})


def changes(pushed: Mapping[str, Any], wanted: Plan) -> MeetingBody | None:
    """The body that makes of `pushed` what is `wanted`: only fields that differ; None if none does."""
    body = {name: value for name, value in wanted.items() if name != "settings" and pushed.get(name) != value}
    had = pushed.get("settings", {})
    settings = {name: value for name, value in wanted["settings"].items() if had.get(name) != value}
    if settings:
        body["settings"] = settings
    if "start_time" in body or "timezone" in body:
        # Zoom reads a start by the zone sent along.
        body |= {name: wanted[name] for name in ("start_time", "timezone") if name in wanted}
    return _body(body) if body else None


def new_passcode() -> str:
    """Ten characters with letters and digits, which satisfies the usual rules of an account."""
    letters, digits = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ", "23456789"
    return "".join(secrets.choice(letters) for _ in range(6)) + "".join(secrets.choice(digits) for _ in range(4))


def observation(meeting: Meeting) -> Plan:
    """What Zoom says of a meeting, in a plan's shape; what it does not say is left out. Holds no secret."""
    said: Plan = {"topic": meeting.topic, "duration": meeting.duration}
    if meeting.start_time:
        said["start_time"] = _utc(meeting.start_time)
    settings = meeting.settings.model_dump(include=set(COMPARED_SETTINGS), exclude_none=True)
    return {name: value for name, value in said.items() if value is not None} | {"settings": settings}


def as_observed(pushed: Mapping[str, Any], observed: Mapping[str, Any]) -> Plan:
    """The plan Zoom last accepted, corrected by what it says now: what was lost or changed there differs again."""
    settings = {**pushed.get("settings", {}), **observed.get("settings", {})}
    return {**pushed, **observed, "settings": settings}


def told(about: Mapping[str, Any]) -> Plan:
    """What a notification says of what is compared, in a plan's shape."""
    said = {name: about[name] for name in ("topic", "duration") if isinstance(about.get(name), str | int)}
    starts = moment(about.get("start_time"))
    settings = about.get("settings")
    known = settings if isinstance(settings, dict) else {}
    chosen = {name: known[name] for name in COMPARED_SETTINGS if isinstance(known.get(name), str | int)}
    return {**said, **({"start_time": _utc(starts)} if starts else {}), "settings": chosen}


def correction(
    pushed: Mapping[str, Any], observed: Mapping[str, Any], wanted: Plan, *, undo: bool
) -> MeetingBody | None:
    """The body that makes the meeting what is `wanted`; None if it is. With `undo`, also of what was changed inside
    Zoom; without, only of the door somebody opened there to whoever fills in the form."""
    body = changes(as_observed(pushed, observed) if undo else pushed, wanted)
    if body is None and lets_strangers_in(wanted, observed):
        return {"settings": {"approval_type": MANUAL_APPROVAL}}
    return body


def differences(pushed: Mapping[str, Any], observed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where Zoom says otherwise than we asked: `{field, wanted, observed}` each."""
    pairs = [(name, pushed.get(name), observed.get(name)) for name in COMPARED]
    wanted, said = pushed.get("settings", {}), observed.get("settings", {})
    pairs += [(f"settings.{name}", wanted.get(name), said.get(name)) for name in COMPARED_SETTINGS]
    return [
        {"field": field, "wanted": want, "observed": saw}
        for field, want, saw in pairs
        if want is not None and saw is not None and want != saw
    ]


def is_protected(observed: Mapping[str, Any]) -> bool:
    """Whether only people we pushed get in: registration is on and strangers wait for approval."""
    return bool(observed.get("settings", {}).get("approval_type") == MANUAL_APPROVAL)


def asks_registration(wanted: Plan) -> bool:
    """Whether only people we push are to get in."""
    return bool(wanted["settings"]["approval_type"] == MANUAL_APPROVAL)


def lets_strangers_in(wanted: Plan, observed: Mapping[str, Any]) -> bool:
    """Whether somebody has set inside Zoom that whoever fills in the form is approved, where approval is wanted."""
    said = observed.get("settings", {}).get("approval_type")
    return asks_registration(wanted) and said == AUTOMATIC_APPROVAL


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _body(plan: Mapping[str, Any]) -> MeetingBody:
    start = plan.get("start_time")
    moment = {"start_time": datetime.fromisoformat(start)} if start else {}
    return cast("MeetingBody", {**plan, **moment})
