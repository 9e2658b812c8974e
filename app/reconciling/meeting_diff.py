"""Find out whether a meeting at Zoom changed after the backup was made. Pure.

Edits inside Zoom that the database already knew at the backup do not count.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.clients.zoom import Meeting as ZoomMeeting
from app.meetings.plan import COMPARED_FIELDS, COMPARED_SETTINGS, from_zoom, merged_with_zoom

# Fields that calendar entries show, too.
IN_CALENDARS = frozenset(COMPARED_FIELDS)


def changed_fields(
    last_sent: Mapping[str, Any],
    observed: Mapping[str, Any],
    zoom_meeting: ZoomMeeting,
    alternative_hosts: Collection[Collection[str]],
) -> frozenset[str]:
    """Return the names of the fields in which Zoom's meeting differs from what the database knows.

    `alternative_hosts` has, for each alternative host we sent, all names by which Zoom may call them.
    """
    return frozenset(_changed_fields(merged_with_zoom(last_sent, observed), zoom_meeting, alternative_hosts))


def _changed_fields(
    known: Mapping[str, Any], zoom_meeting: ZoomMeeting, alternative_hosts: Collection[Collection[str]]
) -> Iterator[str]:
    current = from_zoom(zoom_meeting)
    yield from (name for name in COMPARED_FIELDS if name in known and name in current and known[name] != current[name])
    settings = known.get("settings", {})
    for name in COMPARED_SETTINGS:
        if name in settings and name in current["settings"] and settings[name] != current["settings"][name]:
            yield f"settings.{name}"
    if "agenda" in known and _text(known["agenda"]) != _text(zoom_meeting.agenda):
        yield "agenda"
    if (
        zoom_meeting.start_time
        and zoom_meeting.timezone
        and _offset_differs(known.get("timezone"), zoom_meeting.timezone, zoom_meeting.start_time)
    ):
        yield "timezone"
    if zoom_meeting.settings.alternative_hosts is not None and "alternative_hosts" in settings:
        named = {
            name.strip().casefold() for name in zoom_meeting.settings.alternative_hosts.replace(",", ";").split(";")
        } - {""}
        expected = [{name.casefold() for name in names} for names in alternative_hosts]
        if len(named) != len(expected) or not all(names & named for names in expected):
            yield "settings.alternative_hosts"


def _text(agenda: str) -> str:
    """Return an agenda without the white space at line ends, in which Zoom's text may differ."""
    return "\n".join(line.rstrip() for line in agenda.splitlines()).strip()


def _offset_differs(expected: str | None, reported: str, at: datetime) -> bool:
    """Return whether two zones have different times at `at`.

    The names alone cannot be compared, because Zoom uses older names for some zones.
    """
    try:
        return (
            expected is not None
            and at.astimezone(ZoneInfo(expected)).utcoffset() != at.astimezone(ZoneInfo(reported)).utcoffset()
        )
    except (ZoneInfoNotFoundError, ValueError):
        return False
