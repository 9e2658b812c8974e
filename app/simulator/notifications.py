"""The payloads of notifications about meetings, participants, registrants, recordings and app removal. Pure.

Contract 11.4, 11.5 and 12.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from app.simulator.clock import epoch_ms, zoom_time
from app.simulator.state import Instance, Json, Meeting, Participant, Registrant, User
from app.simulator.switches import Switches


@dataclass(frozen=True)
class Subscription:
    """The conditions of an event: the scope it needs, and whether only paid plans have it.

    Also how it writes `object.id`.
    """

    scope: str
    classic: str
    paid: bool
    object_id: Literal["string", "number"]


MEETING = Subscription("meeting:read:meeting", "meeting:read", paid=False, object_id="number")
MEETING_CHANGE = replace(MEETING, paid=True)
MEETING_RUN = replace(MEETING, object_id="string")
PARTICIPANT = Subscription("meeting:read:participant", "meeting:read", paid=False, object_id="string")
RECORDING = Subscription("cloud_recording:read:recording", "recording:read", paid=True, object_id="number")
REGISTRATION = Subscription("meeting:read:registrant", "meeting:read", paid=True, object_id="number")


@dataclass(frozen=True)
class Notification:
    """A notification about one host's meeting. `payload` lacks the account; `extra` are fields beside it."""

    event: str
    subscription: Subscription
    account_id: str
    host_id: str
    payload: Json
    extra: Json = field(default_factory=dict)

    def envelope(self, now: datetime, switches: Switches) -> Json:
        """Return the JSON document, with the current time."""
        form = self.subscription.object_id if switches.object_id == "documented" else switches.object_id
        number = self.payload["object"]["id"]
        subject = self.payload["object"] | {"id": str(number) if form == "string" else int(number)}
        payload = {"account_id": self.account_id} | self.payload | {"object": subject}
        return {"event": self.event, "event_ts": epoch_ms(now), "payload": payload} | self.extra


def meeting_created(meeting: Meeting, operator: User) -> Notification:
    """Build `meeting.created`."""
    subject = _meeting_object(meeting) | {
        "join_url": meeting.join_url,
        "password": meeting.password,
        "creation_source": meeting.creation_source,
        "settings": {
            "use_pmi": False,
            "alternative_hosts": meeting.settings["alternative_hosts"],
            "approval_type": meeting.settings["approval_type"],
        },
    }
    if meeting.occurrences:
        subject["recurrence"] = meeting.recurrence
        subject["occurrences"] = meeting.occurrence_list()
    return _notification(
        "meeting.created", MEETING, meeting, _operator(operator) | {"operation": "all", "object": subject}
    )


def meeting_updated(
    meeting: Meeting, operator: User, old: Json, new: Json, now: datetime, scope: Literal["all", "single"]
) -> Notification:
    """Build `meeting.updated`. `old` and `new` contain only what changed."""
    payload = _operator(operator) | {
        "scope": scope,
        "object": {"id": meeting.id} | new,
        "old_object": {"id": meeting.id} | old,
        "time_stamp": epoch_ms(now),
    }
    return _notification("meeting.updated", MEETING_CHANGE, meeting, payload)


def meeting_deleted(meeting: Meeting, operator: User, occurrence_id: str | None = None) -> Notification:
    """Build `meeting.deleted`, for the meeting or for one occurrence."""
    subject = _meeting_object(meeting)
    if occurrence_id is not None:
        subject["occurrences"] = [
            {"occurrence_id": o.id, "start_time": zoom_time(o.start_time)}
            for o in meeting.occurrences
            if o.id == occurrence_id
        ]
    operation = "all" if occurrence_id is None else "single"
    return _notification(
        "meeting.deleted", MEETING_CHANGE, meeting, _operator(operator) | {"operation": operation, "object": subject}
    )


def meeting_started(meeting: Meeting, host: User, instance: Instance) -> Notification:
    """Build `meeting.started`."""
    subject = _instance_object(meeting, instance) | {"host_email": host.email}
    return _notification("meeting.started", MEETING_RUN, meeting, {"object": subject})


def meeting_ended(meeting: Meeting, host: User, instance: Instance, now: datetime) -> Notification:
    """Build `meeting.ended`. Its `duration` is the scheduled one."""
    subject = _instance_object(meeting, instance) | {"host_email": host.email, "end_time": zoom_time(now)}
    return _notification("meeting.ended", MEETING_RUN, meeting, {"object": subject})


def participant_joined(meeting: Meeting, instance: Instance, someone: Participant, switches: Switches) -> Notification:
    """Build `meeting.participant_joined`. Row 11 decides the name of the time field."""
    person = _participant_object(someone) | {switches.participant_time: zoom_time(someone.join_time)}
    payload = {"object": _instance_object(meeting, instance) | {"participant": person}}
    return _notification("meeting.participant_joined", PARTICIPANT, meeting, payload)


def participant_left(meeting: Meeting, instance: Instance, someone: Participant) -> Notification:
    """Build `meeting.participant_left`."""
    left_at = someone.leave_time or someone.join_time
    person = _participant_object(someone) | {
        "leave_time": zoom_time(left_at),
        "leave_reason": someone.leave_reason or "",
    }
    payload = {"object": _instance_object(meeting, instance) | {"participant": person}}
    return _notification("meeting.participant_left", PARTICIPANT, meeting, payload)


def waiting_room(
    what: Literal["joined_waiting_room", "left_waiting_room", "admitted", "put_in_waiting_room"],
    meeting: Meeting,
    instance: Instance,
    someone: Participant,
) -> Notification:
    """Build `meeting.participant_joined_waiting_room` and similar ones, at the time of the last join."""
    payload = {
        "object": _instance_object(meeting, instance)
        | {"participant": _participant_object(someone) | {"date_time": zoom_time(someone.join_time)}}
    }
    return _notification(f"meeting.participant_{what}", PARTICIPANT, meeting, payload)


def waiting_for_host(meeting: Meeting, registrant: Registrant, now: datetime) -> Notification:
    """Build `meeting.participant_jbh_waiting`, which names nothing but the registrant."""
    instance_object = _instance_object(meeting, Instance(meeting.uuid, now))
    person = {"registrant_id": registrant.id, "date_time": zoom_time(now)}
    return _notification(
        "meeting.participant_jbh_waiting", PARTICIPANT, meeting, {"object": instance_object | {"participant": person}}
    )


def breakout_room(meeting: Meeting, instance: Instance, before: Participant, after: Participant) -> Notification:
    """Build `meeting.participant_joined_breakout_room` or `_left_breakout_room`.

    Zoom sends it beside the pair of notifications that report the move.
    """
    direction, someone = ("joined", after) if after.breakout else ("left", before)
    room = {"breakout_room_uuid": someone.breakout}
    person = _participant_object(someone) | {
        "join_time" if after.breakout else "leave_time": zoom_time(after.join_time)
    }
    payload = {"object": _instance_object(meeting, instance) | room | {"participant": person}}
    return _notification(f"meeting.participant_{direction}_breakout_room", PARTICIPANT, meeting, payload)


def registration_created(meeting: Meeting, registrant: Registrant) -> Notification:
    """Build `meeting.registration_created`. It has the link even while pending, as the schema demands."""
    person = _registrant_object(registrant) | {
        "status": registrant.status,
        "join_url": registrant.join_url,
        "participant_pin_code": registrant.pin,
    }
    subject = _meeting_object(meeting) | {"registrant": registrant.profile | person}
    return _notification("meeting.registration_created", REGISTRATION, meeting, {"object": subject})


def registration_changed(meeting: Meeting, registrant: Registrant, operator: User) -> Notification:
    """Build `meeting.registration_approved`, `_cancelled` or `_denied`, by the registrant's status."""
    person = _registrant_object(registrant)
    if registrant.status == "approved":
        person["join_url"] = registrant.join_url
    payload = _operator(operator) | {"object": _meeting_object(meeting) | {"registrant": person}}
    return _notification(f"meeting.registration_{registrant.status}", REGISTRATION, meeting, payload)


def recording(
    what: Literal["completed", "transcript_completed"], meeting: Meeting, subject: Json, download_token: str
) -> Notification:
    """Build `recording.completed` or `recording.transcript_completed`. The token is beside the payload."""
    notification = _notification(f"recording.{what}", RECORDING, meeting, {"object": subject})
    return replace(notification, extra={"download_token": download_token})


def app_deauthorized(user: User, client_id: str, signature: str, now: datetime, switches: Switches) -> Json:
    """Build the document sent when a user removes the app. Row 19 decides where `event_ts` is."""
    payload: Json = {
        "account_id": user.account_id,
        "user_id": user.id,
        "client_id": client_id,
        "deauthorization_time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "signature": signature,
    }
    stamp = epoch_ms(now)
    if switches.deauthorized_event_ts == "top-level":
        return {"event": "app_deauthorized", "event_ts": stamp, "payload": payload}
    payload["event_ts"] = str(stamp) if switches.deauthorized_event_ts == "string" else stamp
    return {"event": "app_deauthorized", "payload": payload}


def _notification(event: str, subscription: Subscription, meeting: Meeting, payload: Json) -> Notification:
    return Notification(event, subscription, meeting.account_id, meeting.host_id, payload)


def _operator(operator: User) -> Json:
    return {"operator": operator.email, "operator_id": operator.id}


def _meeting_object(meeting: Meeting) -> Json:
    subject: Json = {
        "uuid": meeting.uuid,
        "id": meeting.id,
        "host_id": meeting.host_id,
        "topic": meeting.topic,
        "type": meeting.type,
        "duration": meeting.duration,
        "timezone": meeting.timezone,
    }
    return subject | ({"start_time": zoom_time(meeting.start_time)} if meeting.start_time else {})


def _instance_object(meeting: Meeting, instance: Instance) -> Json:
    return _meeting_object(meeting) | {"uuid": instance.uuid, "start_time": zoom_time(instance.started_at)}


def _registrant_object(registrant: Registrant) -> Json:
    return {
        "id": registrant.id,
        "first_name": registrant.first_name,
        "last_name": registrant.last_name,
        "email": registrant.email,
    }


def _participant_object(someone: Participant) -> Json:
    person: Json = {
        "user_id": str(someone.user_id),
        "user_name": someone.name,
        "id": someone.participant_user_id,
        "participant_user_id": someone.participant_user_id,
        "participant_uuid": someone.participant_uuid,
        "email": someone.email,
    }
    return person | ({"registrant_id": someone.registrant_id} if someone.registrant_id else {})
