"""Which fields of a create or update Zoom applies, and which it drops without an error.

Contract 5.1, 5.3 and rows 14 and 15 of section 17. A client that needs to know must read the meeting back.
"""

import secrets
from datetime import datetime
from typing import Any

from app.simulator import errors, validation
from app.simulator.clock import epoch_ms, parse_time
from app.simulator.ids import random_passcode
from app.simulator.recurrence import occurrences
from app.simulator.state import LICENSED, NO_FIXED_TIME, RECURRING, SCHEDULED, Account, Json, Meeting, User
from app.simulator.switches import Switches

DEFAULTS: Json = {
    "host_video": False,
    "participant_video": False,
    "cn_meeting": False,
    "in_meeting": False,
    "join_before_host": False,
    "jbh_time": 0,
    "mute_upon_entry": False,
    "watermark": False,
    "use_pmi": False,
    "approval_type": 2,
    "audio": "both",
    "auto_recording": "none",
    "enforce_login": False,
    "enforce_login_domains": "",
    "alternative_hosts": "",
    "alternative_hosts_email_notification": True,
    "alternative_host_update_polls": False,
    "close_registration": False,
    "show_share_button": False,
    "show_join_info": False,
    "allow_multiple_devices": False,
    "registrants_confirmation_email": True,
    "registrants_email_notification": True,
    "request_permission_to_unmute_participants": False,
    "global_dial_in_countries": [],
    "global_dial_in_numbers": [],
    "contact_name": "",
    "contact_email": "",
    "meeting_authentication": False,
    "email_notification": True,
    "device_testing": False,
    "focus_mode": False,
    "meeting_invitees": [],
    "private_meeting": False,
    "internal_meeting": False,
    "participant_focused_meeting": False,
    "push_change_to_calendar": False,
    "encryption_type": "enhanced_encryption",
}

_OCCURRENCE_FIELDS = ("agenda", "start_time", "duration")
_OCCURRENCE_SETTINGS = (
    "host_video",
    "participant_video",
    "join_before_host",
    "mute_upon_entry",
    "waiting_room",
    "watermark",
    "auto_recording",
)


def accept_fields(body: Json) -> Json:
    """Return the fields of a create or update that Zoom knows. Raises 400/300, which names each wrong one."""
    known, wrong = validation.check_fields(body, validation.MEETING)
    for name, rules in (("settings", validation.SETTINGS), ("recurrence", validation.RECURRENCE)):
        if isinstance(known.get(name), dict):
            known[name], also_wrong = validation.check_fields(known[name], rules, f"{name}.")
            wrong += also_wrong
    rule = known.get("recurrence")
    if isinstance(rule, dict):
        missing = [] if "type" in rule else ["recurrence.type"]
        missing += ["recurrence.weekly_days"] if rule.get("type") == 2 and "weekly_days" not in rule else []
        wrong += [(name, "Invalid field.") for name in missing]
    if wrong:
        raise errors.validation_failed(wrong)
    return known


def refuse_fields(body: Json, host: User, switches: Switches) -> None:
    """Refuse the whole create or update for one field (contract 21, Optional fields)."""
    for name in switches.refused_fields:
        group, _, field = name.rpartition(".")
        value = (body.get(group) or {}).get(field) if group else body.get(field)
        if value in (None, "", "none"):
            continue
        if switches.field_refusal == "errors":
            raise errors.validation_failed([(name, "Invalid field.")])
        if switches.field_refusal == "paid":
            raise errors.refusal(400, 200, f"Only available for paid users: {host.id}.")
        if switches.field_refusal == "unnamed":
            raise errors.refusal(400, 300, "Validation Failed.")
        message = f"The value that you entered in the `{field}` field is invalid. Enter a valid value and try again."
        raise errors.refusal(400, 300, message)


def initialize(meeting: Meeting, fields: Json, host: User, account: Account, switches: Switches, now: datetime) -> None:
    """Fill in a new meeting. Raises 400/300, or 400/200 if a switch says so."""
    meeting.type = fields.get("type", SCHEDULED)
    _refuse_registration(meeting.type, fields.get("settings", {}).get("approval_type", 2), host, switches)
    meeting.settings = DEFAULTS | {"waiting_room": host.settings["in_meeting"]["waiting_room"]}
    if meeting.type in (SCHEDULED, RECURRING):
        meeting.start_time = now.replace(microsecond=0)
    if fields.get("default_password", True) and "password" not in fields:
        _set_password(meeting, random_passcode())
    _apply_fields(meeting, fields, now, past_is_ignored=False)
    _apply_settings(meeting, fields.get("settings", {}), host, account)
    _set_recurrence(meeting, fields.get("recurrence"))


def update(meeting: Meeting, fields: Json, host: User, account: Account, switches: Switches, now: datetime) -> None:
    """Apply an update. A `start_time` in the past, and fields PATCH does not take, change nothing."""
    settings: Json = dict(fields.get("settings", {}))
    for name in ("additional_data_center_regions", "show_join_info"):
        settings.pop(name, None)
    previous = (meeting.start_time, meeting.duration, meeting.timezone, meeting.recurrence)
    kind: int = fields.get("type", meeting.type)
    _refuse_registration(kind, (meeting.settings | settings)["approval_type"], host, switches)
    meeting.type = kind
    _apply_fields(meeting, fields, now, past_is_ignored=True)
    _apply_settings(meeting, settings, host, account)
    if previous != (meeting.start_time, meeting.duration, meeting.timezone, fields.get("recurrence", previous[3])):
        _set_recurrence(meeting, fields.get("recurrence", meeting.recurrence))


def change_occurrence(meeting: Meeting, occurrence_id: str, requested: Json, now: datetime) -> None:
    """Apply an update to one occurrence, where few fields take effect. Raises 400/300 for an unknown one."""
    occurrence = next((o for o in meeting.occurrences if o.id == occurrence_id and o.status == "available"), None)
    if occurrence is None:
        raise errors.refusal(400, 300, "Invalid parameter: `occurrence_id`.")
    accepted = {name: requested[name] for name in _OCCURRENCE_FIELDS if name in requested}
    if "start_time" in accepted:
        start = parse_time(accepted["start_time"], requested.get("timezone", meeting.timezone))
        if start > now:
            occurrence.start_time = start
            occurrence.id = str(epoch_ms(start))
    occurrence.duration = accepted.get("duration", occurrence.duration)
    meeting.agenda = accepted.get("agenda", meeting.agenda)
    settings = requested.get("settings", {})
    meeting.settings |= {name: settings[name] for name in _OCCURRENCE_SETTINGS if name in settings}


def alternative_hosts(meeting: Meeting, account: Account) -> list[User]:
    """Return the users who may host in the owner's place."""
    keys = meeting.settings["alternative_hosts"].replace(",", ";").lower().split(";")
    return [user for user in account.users if user.email.lower() in keys or user.id.lower() in keys]


def _apply_fields(meeting: Meeting, fields: Json, now: datetime, *, past_is_ignored: bool) -> None:
    meeting.timezone = fields.get("timezone", meeting.timezone)
    for name in ("topic", "agenda", "duration", "pre_schedule", "tracking_fields"):
        if name in fields:
            setattr(meeting, name, fields[name])
    if "password" in fields:
        _set_password(meeting, fields["password"])
    if "start_time" in fields and meeting.type in (SCHEDULED, RECURRING):
        start = parse_time(fields["start_time"], meeting.timezone)
        if start > now or not past_is_ignored:
            meeting.start_time = start


def _set_password(meeting: Meeting, password: str) -> None:
    if password != meeting.password:
        meeting.password = password
        meeting.pwd = f"{secrets.token_urlsafe(24)}.1" if password else ""


def _refuse_registration(kind: int, approval_type: int, host: User, switches: Switches) -> None:
    if approval_type == 2:
        return
    if host.type != LICENSED and switches.unlicensed_registration == "error":
        raise errors.refusal(400, 200, f"Only available for paid users: {host.id}.")
    if kind == NO_FIXED_TIME and switches.type_3_registration == "error":
        raise errors.validation_failed([("settings.approval_type", "Invalid field.")])


def _apply_settings(meeting: Meeting, requested: Json, host: User, account: Account) -> None:
    settings: dict[str, Any] = meeting.settings
    settings |= requested
    if host.type != LICENSED or meeting.type not in (SCHEDULED, RECURRING):
        settings["approval_type"] = 2
    if meeting.type == RECURRING:
        settings.setdefault("registration_type", 1)
    else:
        settings.pop("registration_type", None)
    if settings["waiting_room"]:
        settings["join_before_host"] = False
    cloud = host.settings["recording"]["cloud_recording"] and settings["encryption_type"] != "e2ee"
    if settings["auto_recording"] == "cloud" and not cloud:
        settings["auto_recording"] = "none"
    allowed = [user.email for user in alternative_hosts(meeting, account) if user.type == LICENSED and user is not host]
    settings["alternative_hosts"] = ";".join(allowed)


def _set_recurrence(meeting: Meeting, rule: Json | None) -> None:
    if meeting.type != RECURRING or rule is None or meeting.start_time is None:
        meeting.recurrence = None
        meeting.occurrences = []
        return
    meeting.recurrence = rule
    meeting.occurrences = occurrences(rule, meeting.start_time, meeting.duration, meeting.timezone)
