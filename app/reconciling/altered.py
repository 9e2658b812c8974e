"""Whether Zoom has a meeting otherwise than it was known to be when the backup was made. Pure.

What somebody had changed inside Zoom before, and we knew of, is no news.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.clients.zoom import Meeting as Said
from app.meetings.plan import COMPARED, COMPARED_SETTINGS, as_observed, observation

# What calendars show, too.
IN_CALENDARS = frozenset(COMPARED)


def altered(
    pushed: Mapping[str, Any], observed: Mapping[str, Any], said: Said, stand_ins: Collection[Collection[str]]
) -> frozenset[str]:
    """The names of what differs between what was asked for or seen, and what Zoom says now. `stand_ins` are the
    alternative hosts that were asked for, each by all names Zoom may call them."""
    return frozenset(_differing(as_observed(pushed, observed), said, stand_ins))


def _differing(known: Mapping[str, Any], said: Said, stand_ins: Collection[Collection[str]]) -> Iterator[str]:
    now = observation(said)
    yield from (name for name in COMPARED if name in known and name in now and known[name] != now[name])
    settings = known.get("settings", {})
    for name in COMPARED_SETTINGS:
        if name in settings and name in now["settings"] and settings[name] != now["settings"][name]:
            yield f"settings.{name}"
    if "agenda" in known and _text(known["agenda"]) != _text(said.agenda):
        yield "agenda"
    if said.start_time and said.timezone and _elsewhere(known.get("timezone"), said.timezone, said.start_time):
        yield "timezone"
    if said.settings.alternative_hosts is not None and "alternative_hosts" in settings:
        named = {name.strip().casefold() for name in said.settings.alternative_hosts.replace(",", ";").split(";")} - {
            ""
        }
        wanted = [{name.casefold() for name in names} for names in stand_ins]
        if len(named) != len(wanted) or not all(names & named for names in wanted):
            yield "settings.alternative_hosts"


def _text(agenda: str) -> str:
    return "\n".join(line.rstrip() for line in agenda.splitlines()).strip()


def _elsewhere(known: str | None, said: str, at: datetime) -> bool:
    """Whether two zones have different times at that moment: Zoom calls some by older names."""
    try:
        return (
            known is not None
            and at.astimezone(ZoneInfo(known)).utcoffset() != at.astimezone(ZoneInfo(said)).utcoffset()
        )
    except (ZoneInfoNotFoundError, ValueError):
        return False
