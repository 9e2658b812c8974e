"""Builds the warnings about hosts and meetings: limits, recording, quota, scopes, refused fields (pure).

A warning refuses nothing. It is shown before an event gets the host, and afterwards on the event.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta

from pydantic import Field

from app.clients.zoom.scopes import BY_NAME
from app.web import Schema

# Since July 2022 for every Basic user, on paid accounts too, and for meetings of two as well (support.zoom.com).
UNLICENSED_MAX_DURATION = timedelta(minutes=40)

# The product document, section 8, in its words.
NO_CLOUD_RECORDING = "Cloud recording not enabled on this Zoom account"
NO_CLOUD_RECORDING_DETAIL = (
    "This warning shows when the connected Zoom account doesn't have cloud recording in its plan. Meetings hosted via"
    " Kindryn will not be auto-recorded. Either upgrade your Zoom plan or ignore the warning if you don't need"
    " recording."
)
# Fields of a meeting that Zoom may refuse, as people know them.
_FIELD_NAMES = {
    "timezone": "the time zone",
    "settings.alternative_hosts": "the alternative hosts",
    "settings.auto_recording": "automatic recording",
}
LINKS_NOT_PERSONAL = "This host has no Zoom licence, so members' links are not personal."
QUOTA_EXHAUSTED = "Zoom takes no more meetings of this host today; one is made after midnight UTC."


class WarningItem(Schema):
    """Something that works less than it could."""

    type: str = Field(description="A stable slug", examples=["time-limit"])
    title: str = Field(examples=["Zoom ends the meeting after 40 minutes"])
    detail: str = Field(
        examples=["This host has no Zoom licence, so Zoom ends the meeting after 40 minutes; 90 are planned."]
    )


def no_cloud_recording() -> WarningItem:
    """Return the warning that nobody on the account can record to the cloud."""
    return WarningItem(type="no-cloud-recording", title=NO_CLOUD_RECORDING, detail=NO_CLOUD_RECORDING_DETAIL)


def quota_exhausted() -> WarningItem:
    """Return the warning that the host's hundred creates and updates of today are used up."""
    return WarningItem(type="daily-limit", title="Zoom's daily limit of this host is reached", detail=QUOTA_EXHAUSTED)


def for_host(
    *, licensed: bool, capacity: int | None, duration: timedelta | None = None, people: int | None = None
) -> list[WarningItem]:
    """Return what an event with this duration and number of people does not get from a host.

    None means that the value is unknown.
    """
    found = []
    if not licensed:
        found.append(WarningItem(type="not-personal", title="Links are not personal", detail=LINKS_NOT_PERSONAL))
    if not licensed and duration is not None and duration > UNLICENSED_MAX_DURATION:
        found.append(
            WarningItem(
                type="time-limit",
                title="Zoom ends the meeting after 40 minutes",
                detail="This host has no Zoom licence, so Zoom ends the meeting after 40 minutes;"
                f" {-(-duration // timedelta(minutes=1))} are planned.",
            )
        )
    if too_small(capacity, people):
        found.append(
            WarningItem(
                type="capacity",
                title="More people than the meeting takes",
                detail=f"Meetings of this host take {capacity} people, and there is to be room for {people}.",
            )
        )
    return found


def too_small(capacity: int | None, people: int | None) -> bool:
    """Return whether `people` exceeds `capacity`; False if one of them is unknown."""
    return capacity is not None and people is not None and people > capacity


def host_unavailable() -> WarningItem:
    """Return the warning that an event's host cannot hold it any more."""
    return WarningItem(
        type="host-gone",
        title="The host can no longer hold this event",
        detail="This Zoom user was deactivated or removed, or the connection no longer reaches them."
        " Choose another host for the event.",
    )


def alternatives_unavailable(names: Sequence[str]) -> WarningItem:
    """Return the warning that some of an event's alternative hosts cannot start it any more."""
    return WarningItem(
        type="alternative-host-gone",
        title="An alternative host can no longer stand in",
        detail=f"{_join_names(names)} cannot start this meeting any more: an alternative host is an active, licensed"
        " user of the host's Zoom account.",
    )


def fields_refused(fields: Sequence[str]) -> WarningItem:
    """Return the warning that Zoom refused some fields of a meeting and created it without them."""
    refused_fields = _join_and(
        [_FIELD_NAMES.get(field, field.removeprefix("settings.").replace("_", " ")) for field in fields]
    )
    return WarningItem(
        type="left-out",
        title="Zoom did not take everything",
        detail=f"Zoom refused {refused_fields}, so the meeting is without. It is tried again when you change it, when"
        " the Zoom account changes, or when you bring the event and Zoom together.",
    )


def unavailable_host_with_events(name: str, events: int) -> WarningItem:
    """Return the warning for the card that an unavailable host still has events to come."""
    return WarningItem(
        type="host-gone",
        title="A host can no longer hold meetings",
        detail=f"{name or 'A former host'} was deactivated or removed at Zoom, or the connection no longer reaches"
        f" them. Choose another host for {_count_events(events)} to come.",
    )


def unlicensed_host_with_events(name: str, events: int) -> WarningItem:
    """Return the warning for the card that a host without a licence has events to come."""
    return WarningItem(
        type="not-personal",
        title="Links are not personal",
        detail=f"{name or 'A host'} has no Zoom licence, so members' links to {_count_events(events)} to come are not"
        " personal, and Zoom ends these meetings after 40 minutes.",
    )


def missing_scopes_message(scopes: Collection[str]) -> str:
    """Return the sentence about scopes that the grant lacks.

    Zoom names a scope and its wider form. The sentence names only the one that we ask for.
    """
    requested = [scope for scope in scopes if scope in BY_NAME]
    return f"Zoom did not grant {', '.join(requested or scopes)}. Connect again and approve every permission."


def _count_events(number: int) -> str:
    return "1 event" if number == 1 else f"{number} events"


def _join_and(items: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(name or "An alternative host" for name in names)
