"""A delivery as an operator may see it: its form, and of its contents what is neither personal nor a secret (pure).

What may be shown is named; everything else, also what Zoom may add one day, is not.
"""

from typing import Any

HIDDEN = "[hidden]"
MAX_DEPTH = 16  # levels; Zoom's notifications have six
# Ids, kinds, times and sizes. No names, addresses, titles, texts, links, codes, keys or tokens.
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
    """`data`, the JSON of a delivery, with the same fields, and `[hidden]` for what is not to be shown, or lies deeper
    than `levels`."""
    if isinstance(data, dict | list) and not levels:
        return HIDDEN
    if isinstance(data, dict):
        return {name: redact(value, levels - 1) if name in VISIBLE_FIELDS else HIDDEN for name, value in data.items()}
    if isinstance(data, list):
        return [redact(value, levels - 1) for value in data]
    if isinstance(data, str) and ("@" in data or "://" in data):
        return HIDDEN
    return data
