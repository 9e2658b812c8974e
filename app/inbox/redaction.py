"""Redacts a delivery for operators: its structure, without personal data or secrets (pure).

The visible fields are listed. All others are hidden, also those that Zoom may add one day.
"""

from typing import Any

HIDDEN = "[hidden]"
MAX_DEPTH = 16  # levels; Zoom's notifications have six
# Ids, kinds, times and sizes, but no names, addresses, titles, texts, links, codes, keys or tokens.
VISIBLE_FIELDS = frozenset(
    {
        "event",
        "event_ts",
        "payload",
        "account_id",
        "object",
        "old_object",
        "operation",
        "scope",
        "time_stamp",
        "deauthorization_time",
        "user_id",
        "id",
        "uuid",
        "host_id",
        "operator_id",
        "type",
        "start_time",
        "end_time",
        "timezone",
        "duration",
        "occurrences",
        "occurrence_id",
        "status",
        "settings",
        "recurrence",
        "approval_type",
        "registration_type",
        "auto_recording",
        "waiting_room",
        "allow_multiple_devices",
        "show_share_button",
        "use_pmi",
        "creation_source",
        "participant",
        "participant_uuid",
        "participant_user_id",
        "registrant_id",
        "join_time",
        "leave_time",
        "date_time",
        "registrant",
        "live_streaming",
        "service",
        "recording_files",
        "recording_start",
        "recording_end",
        "file_type",
        "file_size",
        "file_extension",
        "recording_type",
        "meeting_id",
        "recording_count",
        "total_size",
        "meetings",
        "recordings",
    }
)


def redact(data: Any, levels: int = MAX_DEPTH) -> Any:
    """Return the JSON `data` of a delivery with the same fields, and `[hidden]` in place of hidden values.

    Everything deeper than `levels` is hidden too.
    """
    if isinstance(data, dict | list) and not levels:
        return HIDDEN
    if isinstance(data, dict):
        return {name: redact(value, levels - 1) if name in VISIBLE_FIELDS else HIDDEN for name, value in data.items()}
    if isinstance(data, list):
        return [redact(value, levels - 1) for value in data]
    if isinstance(data, str) and ("@" in data or "://" in data):
        return HIDDEN
    return data
