"""Zoom's Meetings API (contract 5): create, get, list, update and delete meetings; end and recover them."""

import secrets
from copy import deepcopy
from datetime import timedelta
from typing import Literal

from app.simulator import errors, meeting_actions, notifications, scheduling
from app.simulator.clock import zoom_time
from app.simulator.errors import ZoomResponse
from app.simulator.ids import meeting_number, meeting_uuid
from app.simulator.operations import Call, Handler, Operation, may_host
from app.simulator.scopes import is_admin_scope
from app.simulator.simulator import Simulator
from app.simulator.state import Account, Json, Meeting, User

_READ, _WRITE = ("meeting:read",), ("meeting:write",)
_MEETING = "/meetings/{meeting_id}"

CREATE = Operation("meetingCreate", "POST", "/users/{user_id}/meetings", "Light", "meeting:write:meeting", _WRITE)
LIST = Operation("meetings", "GET", "/users/{user_id}/meetings", "Medium", "meeting:read:list_meetings", _READ)
GET = Operation("meeting", "GET", _MEETING, "Light", "meeting:read:meeting", _READ)
UPDATE = Operation("meetingUpdate", "PATCH", _MEETING, "Light", "meeting:update:meeting", _WRITE)
DELETE = Operation("meetingDelete", "DELETE", _MEETING, "Light", "meeting:delete:meeting", _WRITE)
STATUS = Operation("meetingStatus", "PUT", f"{_MEETING}/status", "Light", "meeting:update:status", _WRITE)


def create(call: Call) -> ZoomResponse:
    """POST /users/{userId}/meetings: 201."""
    host = call.user()
    fields = scheduling.accept_fields(call.body)
    scheduling.refuse_fields(fields, host, call.simulator.switches)
    if "schedule_for" in fields:
        host = _scheduled_for(call, host, fields["schedule_for"])
    if not may_host(host):
        raise errors.hosting_not_allowed()
    meeting = new_meeting(call.simulator, host, call.base_url)
    scheduling.initialize(meeting, fields, host, call.account, call.simulator.switches, call.now)
    call.consume_host_quota(host)
    call.simulator.state.meetings[meeting.id] = meeting
    record_secrets(call.simulator, meeting)
    call.simulator.send_notifications([notifications.meeting_created(meeting, call.caller)])
    return ZoomResponse(201, to_json(call.simulator, meeting, host))


def get(call: Call) -> ZoomResponse:
    """GET /meetings/{meetingId}: 200, with a start URL made for this response."""
    meeting = call.meeting()
    document = to_json(call.simulator, meeting, call.host(meeting))
    occurrence_id = call.query.get("occurrence_id")
    if occurrence_id is not None:
        occurrence = next((o for o in meeting.occurrences if o.id == occurrence_id), None)
        if occurrence is None:
            raise errors.refusal(400, 300, "Invalid parameter: `occurrence_id`.")
        document |= {"start_time": zoom_time(occurrence.start_time), "duration": occurrence.duration}
    elif call.query.get("show_previous_occurrences") != "true" and "occurrences" in document:
        now = zoom_time(call.now)
        document["occurrences"] = [o for o in document["occurrences"] if o["start_time"] >= now]
    return ZoomResponse(200, document)


def update(call: Call) -> ZoomResponse:
    """PATCH /meetings/{meetingId}: 204, whether or not all of it took effect."""
    meeting = call.meeting()
    host = call.host(meeting)
    fields = scheduling.accept_fields(call.body)
    scheduling.refuse_fields(fields, host, call.simulator.switches)
    call.consume_host_quota(host)
    edit(call.simulator, meeting, fields, call.caller, call.query.get("occurrence_id"))
    return ZoomResponse(204)


def delete(call: Call) -> ZoomResponse:
    """DELETE /meetings/{meetingId}: 204. A deleted occurrence stays in the list as deleted."""
    meeting = call.meeting()
    if meeting.running_instance is not None:
        raise errors.refusal(400, 3002, "Sorry, you cannot delete this meeting since it's in progress.")
    occurrence_id = call.query.get("occurrence_id")
    if occurrence_id is None:
        remove(call.simulator, meeting, call.caller)
        return ZoomResponse(204)
    occurrence = next((o for o in meeting.occurrences if o.id == occurrence_id and o.status == "available"), None)
    if occurrence is None:
        raise errors.refusal(400, 300, "Invalid parameter: `occurrence_id`.")
    occurrence.status = "deleted"
    call.simulator.send_notifications([notifications.meeting_deleted(meeting, call.caller, occurrence_id)])
    return ZoomResponse(204)


def status(call: Call) -> ZoomResponse:
    """PUT /meetings/{meetingId}/status: 204. Ends a running meeting, or recovers a deleted one."""
    action = call.body.get("action")
    if action not in ("end", "recover"):
        raise errors.validation_failed([("action", "Invalid field.")])
    world = call.simulator.state
    if action == "recover" and call.path["meeting_id"].isdecimal():
        number = int(call.path["meeting_id"])
        if number in world.deleted:
            world.meetings[number] = world.deleted.pop(number)
    meeting = call.meeting()
    if action == "end":
        call.simulator.send_notifications(meeting_actions.end(call.simulator, meeting))
    return ZoomResponse(204)


def list_meetings(call: Call) -> ZoomResponse:
    """GET /users/{userId}/meetings: unexpired meetings of one `type`, by start, paged."""
    host = call.user()
    now = call.now
    list_type = call.query.get("type", "scheduled")
    if list_type not in ("scheduled", "live", "upcoming", "upcoming_meetings", "previous_meetings"):
        raise errors.validation_failed([("type", "Invalid field.")])
    meetings = [m for m in call.simulator.state.meetings.values() if m.host_id == host.id and not m.is_expired(now)]
    if list_type == "live":
        meetings = [meeting for meeting in meetings if meeting.running_instance is not None]
    elif list_type == "previous_meetings":
        meetings = [meeting for meeting in meetings if meeting.is_over(now)]
    elif list_type != "scheduled":
        meetings = [meeting for meeting in meetings if not meeting.is_over(now)]
    meetings.sort(key=lambda meeting: (meeting.start_time or meeting.created_at, meeting.id))
    page, envelope = call.simulator.page_tokens.paginate(call.operation.path + host.id, call.query, meetings, now)
    return ZoomResponse(200, envelope | {"meetings": [_list_item(meeting) for meeting in page]})


def new_meeting(simulator: Simulator, host: User, base_url: str) -> Meeting:
    """Return a meeting with its identifiers. It is not stored yet."""
    serial = simulator.state.next_serial()
    number = meeting_number(serial)
    while number in simulator.state.meetings or number in simulator.state.deleted:
        number = meeting_number(serial)
    return Meeting(
        id=number,
        uuid=meeting_uuid(serial),
        host_id=host.id,
        account_id=host.account_id,
        base_url=simulator.switches.link_base or base_url,
        registration_key=secrets.token_urlsafe(33),
        created_at=simulator.now(),
        timezone=host.timezone,
    )


def record_secrets(simulator: Simulator, meeting: Meeting) -> None:
    """Record the secrets of a meeting as issued."""
    simulator.issue_secret("passcode", meeting.password)
    simulator.issue_secret("pwd", meeting.pwd)
    simulator.issue_secret("join_url", meeting.join_url)


def edit(
    simulator: Simulator, meeting: Meeting, fields: Json, operator: User, occurrence_id: str | None = None
) -> None:
    """Change a meeting, by the API or in the web portal, and notify the app of what changed."""
    host = simulator.state.host(meeting)
    account = simulator.state.accounts[meeting.account_id]
    fields_before = _notified_fields(meeting)
    pwd = meeting.pwd
    if occurrence_id is not None:
        scheduling.change_occurrence(meeting, occurrence_id, fields, simulator.now())
    else:
        scheduling.update(meeting, fields, host, account, simulator.switches, simulator.now())
    if meeting.pwd != pwd:
        record_secrets(simulator, meeting)
    old, new = _difference(fields_before, _notified_fields(meeting))
    if new:
        scope: Literal["all", "single"] = "all" if occurrence_id is None else "single"
        simulator.send_notifications(
            [notifications.meeting_updated(meeting, operator, old, new, simulator.now(), scope)]
        )


def remove(simulator: Simulator, meeting: Meeting, operator: User) -> None:
    """Delete a meeting, by the API or in the web portal, and notify the app."""
    simulator.state.deleted[meeting.id] = simulator.state.meetings.pop(meeting.id)
    simulator.send_notifications([notifications.meeting_deleted(meeting, operator)])


def to_json(simulator: Simulator, meeting: Meeting, host: User) -> Json:
    """Return a meeting as create and get do, with a fresh start URL that is valid for two hours."""
    document: Json = _list_item(meeting) | {
        "host_email": host.email,
        "assistant_id": "",
        "status": "waiting" if meeting.running_instance is None else "started",
        "agenda": meeting.agenda,
        "start_url": start_url(simulator, meeting, host),
        "password": meeting.password,
        "h323_password": meeting.password,
        "pstn_password": meeting.password,
        "encrypted_password": meeting.pwd,
        "settings": deepcopy(meeting.settings),
        "creation_source": meeting.creation_source,
        "pre_schedule": meeting.pre_schedule,
        "tracking_fields": meeting.tracking_fields,
    }
    if meeting.requires_registration:
        document["registration_url"] = meeting.registration_url
    if meeting.recurrence is not None:
        document["recurrence"] = meeting.recurrence
        document["occurrences"] = meeting.occurrence_list()
    return document


def start_url(simulator: Simulator, meeting: Meeting, host: User) -> str:
    """Return a link that opens the meeting as its host, for two hours (contract 5.1)."""
    zak = simulator.issue_secret("zak", f"eyJ{secrets.token_urlsafe(90)}")
    simulator.zaks[zak] = (host.id, simulator.now() + timedelta(hours=2))
    return simulator.issue_secret("start_url", f"{meeting.base_url}/s/{meeting.id}?zak={zak}")


def _scheduled_for(call: Call, caller: User, key: str) -> User:
    account: Account = call.account
    host = next((user for user in account.users if key == user.id or key.lower() == user.email.lower()), None)
    if host is None:
        message = (
            "The value that you entered in the `schedule_for` field is invalid. Enter a valid value and try again."
        )
        raise errors.refusal(400, 300, message)
    if host is not caller and not is_admin_scope(call.scope):
        raise errors.refusal(400, 3000, f"You cannot schedule a meeting for {key}")
    return host


def _list_item(meeting: Meeting) -> Json:
    item: Json = {
        "uuid": meeting.uuid,
        "id": meeting.id,
        "host_id": meeting.host_id,
        "topic": meeting.topic,
        "type": meeting.type,
        "timezone": meeting.timezone,
        "created_at": zoom_time(meeting.created_at),
        "join_url": meeting.join_url,
        "agenda": meeting.agenda[:250],
        "duration": meeting.duration,
    }
    return item | ({"start_time": zoom_time(meeting.start_time)} if meeting.start_time else {})


def _notified_fields(meeting: Meeting) -> Json:
    fields = {name: value for name, value in _list_item(meeting).items() if name not in ("id", "uuid", "host_id")}
    return fields | {
        "agenda": meeting.agenda,
        "password": meeting.password,
        "settings": dict(meeting.settings),
        "occurrences": meeting.occurrence_list(),
    }


def _difference(before: Json, after: Json) -> tuple[Json, Json]:
    changed = [name for name in after if after[name] != before.get(name)]
    old: Json = {name: before.get(name) for name in changed}
    new: Json = {name: after[name] for name in changed}
    if "settings" in new:
        old["settings"], new["settings"] = _difference(old["settings"], new["settings"])
    return old, new


OPERATIONS: list[tuple[Operation, Handler]] = [
    (CREATE, create),
    (LIST, list_meetings),
    (GET, get),
    (UPDATE, update),
    (DELETE, delete),
    (STATUS, status),
]
