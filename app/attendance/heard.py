"""What a notification says of a participant (pure). Fields: developers.zoom.us/docs/api/meetings/events/, under
`meeting.participant_joined` and its like; all but a few may be missing, and ids are text or numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from app.clients.zoom.notifications import Notification

Kind = Literal["joins", "leaves", "waits"]
LONGEST = 320  # characters; an address has no more, and nothing else needs them
# Zoom's schema names the time one way, its example another.
_KINDS: Mapping[str, tuple[Kind, tuple[str, ...]]] = {
    "meeting.participant_joined": ("joins", ("join_time", "date_time")),
    "meeting.participant_left": ("leaves", ("leave_time", "date_time")),
    "meeting.participant_joined_waiting_room": ("waits", ("date_time", "join_time")),
    "meeting.participant_put_in_waiting_room": ("waits", ("date_time", "join_time")),
}
# What tells one client from another; only the first is promised for joining and leaving alike.
_CONNECTION = ("user_id", "participant_uuid", "registrant_id", "participant_user_id", "id", "email", "user_name")


@dataclass(frozen=True)
class Heard:
    """A client joined, left or was made to wait, at a moment, in an instance."""

    instance_uuid: str
    connection: str
    kind: Kind
    at: datetime
    registrant_id: str | None
    zoom_user_id: str | None
    email: str | None
    name: str | None


def heard(notification: Notification, received_at: datetime) -> Heard | None:
    """What is to be kept; None where no client or instance is named. A time Zoom left out is when it spoke."""
    kind, times = _KINDS[notification.event]
    about = notification.payload.get("object") or {}
    person = about.get("participant") if isinstance(about, dict) else None
    instance_uuid = _text(notification.uuid)
    if not isinstance(person, dict) or instance_uuid is None:
        return None
    connection = next((f"{name}:{value}" for name in _CONNECTION if (value := _text(person.get(name)))), None)
    if connection is None:
        return None
    spoke = _spoken(notification.event_ts) or received_at
    return Heard(
        instance_uuid=instance_uuid,
        connection=connection,
        kind=kind,
        at=next((at for name in times if (at := _moment(person.get(name)))), spoke),
        registrant_id=_text(person.get("registrant_id")),
        zoom_user_id=_text(person.get("participant_user_id")) or _text(person.get("id")),
        email=_text(person.get("email")),
        name=_text(person.get("user_name")),
    )


def _text(value: Any) -> str | None:
    """An id or a name, without what the database takes no text with; None where there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    sound = value.encode("utf-8", "replace").decode()
    return "".join(letter for letter in sound if letter.isprintable()).strip()[:LONGEST] or None


def _spoken(milliseconds: int | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
    except (ValueError, OverflowError):  # beyond the calendar
        return None


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC) if moment else None
    except (ValueError, OverflowError):
        return None
