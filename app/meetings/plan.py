"""The plan of a Zoom meeting: what it should be, request bodies from it, and how Zoom's differs. Pure.

A plan is a plain JSON object with Zoom's field names, so that the plan Zoom last accepted can be stored and compared.
Limits: developers.zoom.us/docs/api/meetings/#tag/meetings/POST/users/{userId}/meetings
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from app.clients.zoom import Meeting, MeetingBody
from app.clients.zoom.notifications import parse_datetime
from app.core.text_cleaning import clean_text, single_line

AUTOMATIC_APPROVAL: Final = 0
MANUAL_APPROVAL: Final = 1
NO_REGISTRATION: Final = 2
MAX_TOPIC = 200
MAX_AGENDA = 2000
UNTITLED = "Event"  # stands for a title without visible characters, because Zoom requires a topic
Plan = dict[str, Any]

# Fields that people may change inside Zoom, and settings that registration depends on. Admins see it when Zoom differs.
COMPARED_FIELDS = ("topic", "start_time", "duration")
COMPARED_SETTINGS = ("approval_type", "waiting_room", "auto_recording", "allow_multiple_devices", "show_share_button")


@dataclass(frozen=True)
class MeetingSpec:
    """Everything about an event, its space and its host that the plan depends on."""

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
    # Zoom user ids. Unlike addresses they never change, and they name nobody.
    alternative_hosts: Sequence[str] = ()


def plan(spec: MeetingSpec) -> Plan:
    """Return the whole plan.

    Registration needs a licensed host; meetings of other hosts get a waiting room instead.
    """
    return {
        "topic": single_line(spec.title)[:MAX_TOPIC] or UNTITLED,
        "agenda": f"{spec.marker}\n{clean_text(spec.description)}"[:MAX_AGENDA].rstrip(),
        "start_time": _format_utc(spec.starts_at),
        "duration": duration_minutes(spec.starts_at, spec.ends_at),
        "timezone": spec.timezone,
        "settings": {
            "approval_type": MANUAL_APPROVAL if spec.licensed else NO_REGISTRATION,
            "auto_recording": "cloud" if spec.record and spec.can_record else "none",
            "waiting_room": spec.waiting_room or not spec.licensed,
            "mute_upon_entry": spec.mute_upon_entry,
            "participant_video": spec.participant_video,
            "join_before_host": False,
            "use_pmi": False,
            "allow_multiple_devices": False,
            "show_share_button": False,
            "alternative_hosts": ";".join(sorted(spec.alternative_hosts)),
            "alternative_hosts_email_notification": False,
            "email_notification": False,
            "registrants_email_notification": False,
            "registrants_confirmation_email": False,
        },
    }


def duration_minutes(starts_at: datetime, ends_at: datetime) -> int:
    """Return the length in whole minutes, rounded up, within Zoom's range of 1 to 1440."""
    return min(1440, max(1, -(-(ends_at - starts_at) // timedelta(minutes=1))))


def create_body(plan: Plan, passcode: str) -> MeetingBody:
    """Return the body that creates the meeting.

    It sends a passcode of ours, because Zoom turns on the waiting room for meetings without one.
    """
    settings = {**plan["settings"], "show_join_info": False}
    return _body({**plan, "type": 2, "password": passcode, "settings": settings})


def diff_body(last_sent: Mapping[str, Any], desired: Plan) -> MeetingBody | None:
    """Return the body that turns `last_sent` into `desired`: only fields that differ; None if none does."""
    body = {name: value for name, value in desired.items() if name != "settings" and last_sent.get(name) != value}
    current_settings = last_sent.get("settings", {})
    settings = {name: value for name, value in desired["settings"].items() if current_settings.get(name) != value}
    if settings:
        body["settings"] = settings
    if "start_time" in body or "timezone" in body:
        # Zoom reads a start in the time zone of the same request, so the two are always sent together.
        body |= {name: desired[name] for name in ("start_time", "timezone") if name in desired}
    return _body(body) if body else None


def new_passcode() -> str:
    """Return a random passcode of six letters and four digits, which satisfies the usual account rules."""
    letters = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
    digits = "23456789"
    return "".join(secrets.choice(letters) for _ in range(6)) + "".join(secrets.choice(digits) for _ in range(4))


def from_zoom(meeting: Meeting) -> Plan:
    """Return the compared fields of Zoom's meeting in the shape of a plan.

    Fields that Zoom does not report are left out. The result contains no secret.
    """
    fields: Plan = {"topic": meeting.topic, "duration": meeting.duration}
    if meeting.start_time:
        fields["start_time"] = _format_utc(meeting.start_time)
    settings = meeting.settings.model_dump(include=set(COMPARED_SETTINGS), exclude_none=True)
    return {name: value for name, value in fields.items() if value is not None} | {"settings": settings}


def merged_with_zoom(last_sent: Mapping[str, Any], observed: Mapping[str, Any]) -> Plan:
    """Return the plan Zoom last accepted, overwritten by what Zoom reports now.

    Compared with the desired plan, it shows again what was lost or changed at Zoom.
    """
    settings = {**last_sent.get("settings", {}), **observed.get("settings", {})}
    return {**last_sent, **observed, "settings": settings}


def from_notification(meeting_object: Mapping[str, Any]) -> Plan:
    """Return the compared fields that a notification reports, in the shape of a plan."""
    fields = {
        name: meeting_object[name] for name in ("topic", "duration") if isinstance(meeting_object.get(name), str | int)
    }
    starts = parse_datetime(meeting_object.get("start_time"))
    settings = meeting_object.get("settings")
    known_settings = settings if isinstance(settings, dict) else {}
    chosen = {
        name: known_settings[name] for name in COMPARED_SETTINGS if isinstance(known_settings.get(name), str | int)
    }
    return {**fields, **({"start_time": _format_utc(starts)} if starts else {}), "settings": chosen}


def patch_body(current: Plan, observed: Mapping[str, Any], desired: Plan) -> MeetingBody | None:
    """Return the body that turns Zoom's `current` meeting into `desired`; None if nothing differs.

    `observed` is what Zoom reported. If somebody turned on automatic approval inside Zoom, it is always turned off
    again: it would let in everybody who fills in Zoom's form.
    """
    body = diff_body(current, desired)
    if body is None and auto_approves(desired, observed):
        return {"settings": {"approval_type": MANUAL_APPROVAL}}
    return body


def differences(last_sent: Mapping[str, Any], observed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fields in which Zoom differs from what we sent: `{field, wanted, observed}` each."""
    pairs = [(name, last_sent.get(name), observed.get(name)) for name in COMPARED_FIELDS]
    desired_settings = last_sent.get("settings", {})
    observed_settings = observed.get("settings", {})
    pairs += [
        (f"settings.{name}", desired_settings.get(name), observed_settings.get(name)) for name in COMPARED_SETTINGS
    ]
    return [
        {"field": field, "wanted": desired, "observed": reported}
        for field, desired, reported in pairs
        if desired is not None and reported is not None and desired != reported
    ]


def is_protected(observed: Mapping[str, Any]) -> bool:
    """Return whether only registrants we added get in: strangers who register wait for approval."""
    return bool(observed.get("settings", {}).get("approval_type") == MANUAL_APPROVAL)


def requires_registration(desired: Plan) -> bool:
    """Return whether the plan lets in only registrants whom we add."""
    return bool(desired["settings"]["approval_type"] == MANUAL_APPROVAL)


def auto_approves(desired: Plan, observed: Mapping[str, Any]) -> bool:
    """Return whether Zoom approves everybody who fills in its form although the plan asks for approval."""
    approval_type = observed.get("settings", {}).get("approval_type")
    return requires_registration(desired) and approval_type == AUTOMATIC_APPROVAL


def from_body(body: Mapping[str, Any]) -> Plan:
    """Return the fields of a body that was sent, in the shape of a plan."""
    start = body.get("start_time")
    return {**body, **({"start_time": _format_utc(start)} if start else {})}


def _format_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _body(plan: Mapping[str, Any]) -> MeetingBody:
    """Return a plan as the body of a request, in which the start is a datetime."""
    start = plan.get("start_time")
    moment = {"start_time": datetime.fromisoformat(start)} if start else {}
    return cast("MeetingBody", {**plan, **moment})
