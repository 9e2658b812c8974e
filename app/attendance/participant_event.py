"""Parses a notification about a participant: who joined, left, waits or stopped waiting, and when (pure).

Fields: developers.zoom.us/docs/api/meetings/events/, under `meeting.participant_joined` and similar events. All but a
few may be missing, and ids are text or numbers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.clients.zoom.notifications import Notification, clean_text, parse_datetime

Kind = Literal["joins", "leaves", "left_inside", "waits", "waits_ended"]
# Per notification: its kind, and the fields that may hold its time (Zoom's schema and its example differ).
_KINDS: Mapping[str, tuple[Kind, tuple[str, ...]]] = {
    "meeting.participant_joined": ("joins", ("join_time", "date_time")),
    "meeting.participant_left": ("leaves", ("leave_time", "date_time")),
    "meeting.participant_joined_waiting_room": ("waits", ("date_time", "join_time")),
    "meeting.participant_put_in_waiting_room": ("waits", ("date_time", "join_time")),
    # Waiting for the host counts as a client of its own, known by its registrant, because it has no connection yet.
    "meeting.participant_jbh_waiting": ("waits", ("date_time", "join_time")),
    "meeting.participant_jbh_waiting_left": ("waits_ended", ("date_time", "leave_time")),
}
# Reasons for leaving of somebody who waited and was never admitted (schema of `meeting.participant_left`).
_WAITING_ONLY_REASONS = frozenset({"leave waiting room", "removed by host from waiting room", "host did not join"})
_REASON_SEPARATOR = re.compile(r"<br\s*/?>\s*reason\s*:|<br\s*/?>", re.IGNORECASE)
# Fields that identify a client, best first. Zoom promises only the first for both joining and leaving.
_CONNECTION_FIELDS = ("user_id", "participant_uuid", "registrant_id", "participant_user_id", "id", "email", "user_name")


@dataclass(frozen=True)
class ParticipantEvent:
    """A client joined, left, was made to wait or stopped waiting, at one moment in one instance.

    `participant_uuid` stays the same when Zoom gives the client another id.
    """

    instance_uuid: str
    connection: str
    kind: Kind
    at: datetime
    registrant_id: str | None
    zoom_user_id: str | None
    email: str | None
    name: str | None
    participant_uuid: str | None = None
    by_phone: bool = False


def parse(notification: Notification, received_at: datetime) -> ParticipantEvent | None:
    """Return the event to store, or None if the notification names no client or no instance.

    Without a time of its own, the event happened when the notification was sent.
    """
    kind, times = _KINDS[notification.event]
    person = notification.payload_object.get("participant")
    instance_uuid = notification.uuid
    if not isinstance(person, dict) or instance_uuid is None:
        return None
    connection = next(
        (f"{name}:{value}" for name in _CONNECTION_FIELDS if (value := clean_text(person.get(name)))), None
    )
    if connection is None:
        return None
    sent_at = notification.occurred_at or received_at
    return ParticipantEvent(
        instance_uuid=instance_uuid,
        connection=connection,
        kind=_leave_kind(person.get("leave_reason")) if kind == "leaves" else kind,
        at=next((at for name in times if (at := parse_datetime(person.get(name)))), sent_at),
        registrant_id=clean_text(person.get("registrant_id")),
        zoom_user_id=clean_text(person.get("participant_user_id")) or clean_text(person.get("id")),
        email=clean_text(person.get("email")),
        name=clean_text(person.get("user_name")),
        participant_uuid=clean_text(person.get("participant_uuid")),
        by_phone=clean_text(person.get("phone_number")) is not None,
    )


def _leave_kind(reason: object) -> Kind:
    """Return what a reason for leaving says: that the client only waited, that it was inside, or neither.

    Zoom may put a sentence that begins with the participant's name before the reason. So only the last sentence counts,
    and only as a whole, because a name can contain anything.
    """
    text = clean_text(reason)
    if text is None:
        return "leaves"
    return (
        "waits_ended"
        if _REASON_SEPARATOR.split(text)[-1].strip(" .").casefold() in _WAITING_ONLY_REASONS
        else "left_inside"
    )
