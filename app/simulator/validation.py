"""Validates bodies: which fields of meetings and registrants Zoom accepts (contract 5.1, 6.1).

Zoom drops other fields without an error.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import available_timezones

from app.simulator.clock import parse_time
from app.simulator.state import Json

Rule = Callable[[Any], bool]


def text_up_to(max_length: int) -> Rule:
    """A string of at most this many characters."""
    return lambda value: isinstance(value, str) and len(value) <= max_length


def integer_between(minimum: int, maximum: int) -> Rule:
    """An integer within bounds."""
    return lambda value: type(value) is int and minimum <= value <= maximum


def one_of(*allowed: int | str) -> Rule:
    """One of these, and of the same type."""
    return lambda value: type(value) in (int, str) and value in allowed


def is_boolean(value: Any) -> bool:
    """A boolean."""
    return isinstance(value, bool)


def is_array(value: Any) -> bool:
    """An array."""
    return isinstance(value, list)


def is_object(value: Any) -> bool:
    """An object."""
    return isinstance(value, dict)


def is_time(value: Any) -> bool:
    """A time in one of Zoom's two formats (contract 3)."""
    try:
        parse_time(value, "UTC")
    except (TypeError, ValueError):
        return False
    return True


def is_timezone(value: Any) -> bool:
    """The name of a time zone."""
    return value in available_timezones()


def is_email(value: Any) -> bool:
    """An e-mail address Zoom accepts, at most 128 characters."""
    return isinstance(value, str) and len(value) <= 128 and bool(re.fullmatch(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", value))


def is_weekday_list(value: Any) -> bool:
    """A comma list of 1 (Sunday) to 7."""
    return isinstance(value, str) and bool(re.fullmatch(r"[1-7](,[1-7])*", value))


_STRING = text_up_to(2048)

SETTINGS: Mapping[str, Rule] = {
    **dict.fromkeys(
        (
            "allow_host_control_participant_mute_state",
            "allow_multiple_devices",
            "alternative_host_manage_cloud_recording",
            "alternative_host_manage_meeting_summary",
            "alternative_host_update_polls",
            "alternative_hosts_email_notification",
            "auto_start_ai_companion_questions",
            "auto_start_meeting_summary",
            "close_registration",
            "cn_meeting",
            "device_testing",
            "disable_participant_video",
            "email_in_attendee_report",
            "email_notification",
            "enforce_login",
            "focus_mode",
            "host_pause_stop_recording",
            "host_save_video_order",
            "host_video",
            "in_meeting",
            "internal_meeting",
            "join_before_host",
            "meeting_authentication",
            "mute_upon_entry",
            "participant_focused_meeting",
            "participant_video",
            "private_meeting",
            "push_change_to_calendar",
            "registrants_confirmation_email",
            "registrants_email_notification",
            "request_permission_to_unmute_participants",
            "show_join_info",
            "show_share_button",
            "use_pmi",
            "waiting_room",
            "watermark",
        ),
        is_boolean,
    ),
    **dict.fromkeys(
        (
            "alternative_hosts",
            "audio_conference_info",
            "authentication_domains",
            "authentication_name",
            "authentication_option",
            "contact_email",
            "contact_name",
            "enforce_login_domains",
            "summary_template_id",
        ),
        _STRING,
    ),
    **dict.fromkeys(
        (
            "additional_data_center_regions",
            "authentication_exception",
            "custom_keys",
            "global_dial_in_countries",
            "global_dial_in_numbers",
            "meeting_invitees",
            "resources",
        ),
        is_array,
    ),
    **dict.fromkeys(
        (
            "approved_or_denied_countries_or_regions",
            "breakout_room",
            "continuous_meeting_chat",
            "language_interpretation",
            "question_and_answer",
            "sign_language_interpretation",
            "waiting_room_options",
        ),
        is_object,
    ),
    "approval_type": one_of(0, 1, 2),
    "registration_type": one_of(1, 2, 3),
    "audio": one_of("both", "telephony", "voip", "thirdParty"),
    "auto_recording": one_of("local", "cloud", "none"),
    "calendar_type": one_of(1, 2),
    "encryption_type": one_of("enhanced_encryption", "e2ee"),
    "jbh_time": one_of(0, 5, 10, 15),
    "who_can_ask_questions": one_of(1, 2, 3, 4, 5),
    "who_will_receive_summary": one_of(1, 2, 3, 4),
}

MEETING: Mapping[str, Rule] = {
    "topic": text_up_to(200),
    "type": one_of(1, 2, 3, 8, 10),
    "agenda": text_up_to(2000),
    "start_time": is_time,
    "timezone": is_timezone,
    "duration": integer_between(1, 1440),
    "password": text_up_to(10),
    "default_password": is_boolean,
    "schedule_for": _STRING,
    "pre_schedule": is_boolean,
    "template_id": _STRING,
    "tracking_fields": is_array,
    "recurrence": is_object,
    "settings": is_object,
}

RECURRENCE: Mapping[str, Rule] = {
    "type": one_of(1, 2, 3),
    "repeat_interval": integer_between(1, 99),
    "weekly_days": is_weekday_list,
    "monthly_day": integer_between(1, 31),
    "monthly_week": one_of(-1, 1, 2, 3, 4),
    "monthly_week_day": one_of(1, 2, 3, 4, 5, 6, 7),
    "end_times": integer_between(0, 60),
    "end_date_time": is_time,
}

REGISTRANT: Mapping[str, Rule] = {
    "first_name": lambda value: isinstance(value, str) and 0 < len(value) <= 64,
    "last_name": text_up_to(64),
    "email": is_email,
    **dict.fromkeys(
        (
            "address",
            "city",
            "comments",
            "country",
            "industry",
            "job_title",
            "language",
            "no_of_employees",
            "org",
            "phone",
            "purchasing_time_frame",
            "role_in_purchase_process",
            "state",
            "zip",
        ),
        _STRING,
    ),
    "custom_questions": is_array,
    "auto_approve": is_boolean,
}


def check_fields(body: Json, rules: Mapping[str, Rule], prefix: str = "") -> tuple[Json, list[tuple[str, str]]]:
    """Return the known fields of a body and the dotted names of the wrong ones. A `null` counts as absent."""
    known = {name: body[name] for name in rules if body.get(name) is not None}
    wrong = [(f"{prefix}{name}", "Invalid field.") for name, value in known.items() if not rules[name](value)]
    return known, wrong
