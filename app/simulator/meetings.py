"""Zoom's Meetings API (contract 5)."""

import secrets
from copy import deepcopy
from datetime import timedelta
from typing import Literal

from app.simulator import errors, inside, notifications, scheduling
from app.simulator.clock import zoom_time
from app.simulator.errors import Answer
from app.simulator.ids import meeting_number, meeting_uuid
from app.simulator.operations import Call, Handler, Operation, may_host
from app.simulator.scopes import is_wide
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


def create(call: Call) -> Answer:
    """POST /users/{userId}/meetings: 201."""
    host = call.user()
    wanted = scheduling.accepted(call.body)
    scheduling.refuse_fields(wanted, host, call.simulator.switches)
    if "schedule_for" in wanted:
        host = _scheduled_for(call, host, wanted["schedule_for"])
    if not may_host(host):
        raise errors.hosting_not_allowed()
    meeting = new_meeting(call.simulator, host, call.base_url)
    scheduling.begin(meeting, wanted, host, call.account, call.simulator.switches, call.now)
    call.spend_host_budget(host)
    call.simulator.world.meetings[meeting.id] = meeting
    publish(call.simulator, meeting)
    call.simulator.announce([notifications.meeting_created(meeting, call.caller)])
    return Answer(201, shown(call.simulator, meeting, host))


def get(call: Call) -> Answer:
    """GET /meetings/{meetingId}: 200, with a start URL made for this answer."""
    meeting = call.meeting()
    document = shown(call.simulator, meeting, call.host(meeting))
    wanted = call.query.get("occurrence_id")
    if wanted is not None:
        occurrence = next((o for o in meeting.occurrences if o.id == wanted), None)
        if occurrence is None:
            raise errors.refusal(400, 300, "Invalid parameter: `occurrence_id`.")
        document |= {"start_time": zoom_time(occurrence.start_time), "duration": occurrence.duration}
    elif call.query.get("show_previous_occurrences") != "true" and "occurrences" in document:
        now = zoom_time(call.now)
        document["occurrences"] = [o for o in document["occurrences"] if o["start_time"] >= now]
    return Answer(200, document)


def update(call: Call) -> Answer:
    """PATCH /meetings/{meetingId}: 204, whatever of it took effect."""
    meeting = call.meeting()
    host = call.host(meeting)
    wanted = scheduling.accepted(call.body)
    scheduling.refuse_fields(wanted, host, call.simulator.switches)
    call.spend_host_budget(host)
    edit(call.simulator, meeting, wanted, call.caller, call.query.get("occurrence_id"))
    return Answer(204)


def delete(call: Call) -> Answer:
    """DELETE /meetings/{meetingId}: 204; one occurrence stays listed as deleted."""
    meeting = call.meeting()
    if meeting.running is not None:
        raise errors.refusal(400, 3002, "Sorry, you cannot delete this meeting since it's in progress.")
    occurrence_id = call.query.get("occurrence_id")
    if occurrence_id is None:
        remove(call.simulator, meeting, call.caller)
        return Answer(204)
    occurrence = next((o for o in meeting.occurrences if o.id == occurrence_id and o.status == "available"), None)
    if occurrence is None:
        raise errors.refusal(400, 300, "Invalid parameter: `occurrence_id`.")
    occurrence.status = "deleted"
    call.simulator.announce([notifications.meeting_deleted(meeting, call.caller, occurrence_id)])
    return Answer(204)


def status(call: Call) -> Answer:
    """PUT /meetings/{meetingId}/status: end a running meeting, or recover a deleted one. 204."""
    action = call.body.get("action")
    if action not in ("end", "recover"):
        raise errors.validation_failed([("action", "Invalid field.")])
    world = call.simulator.world
    if action == "recover" and call.path["meeting_id"].isdecimal():
        number = int(call.path["meeting_id"])
        if number in world.deleted:
            world.meetings[number] = world.deleted.pop(number)
    meeting = call.meeting()
    if action == "end":
        call.simulator.announce(inside.end(call.simulator, meeting))
    return Answer(204)


def list_meetings(call: Call) -> Answer:
    """GET /users/{userId}/meetings: unexpired ones of one `type`, by start, paged."""
    host, now, asked = call.user(), call.now, call.query.get("type", "scheduled")
    if asked not in ("scheduled", "live", "upcoming", "upcoming_meetings", "previous_meetings"):
        raise errors.validation_failed([("type", "Invalid field.")])
    own = [m for m in call.simulator.world.meetings.values() if m.host_id == host.id and not m.expired(now)]
    if asked == "live":
        own = [meeting for meeting in own if meeting.running is not None]
    elif asked == "previous_meetings":
        own = [meeting for meeting in own if meeting.over(now)]
    elif asked != "scheduled":
        own = [meeting for meeting in own if not meeting.over(now)]
    own.sort(key=lambda meeting: (meeting.start_time or meeting.created_at, meeting.id))
    page, envelope = call.simulator.pages.cut(call.operation.path + host.id, call.query, own, now)
    return Answer(200, envelope | {"meetings": [_listed(meeting) for meeting in page]})


def new_meeting(simulator: Simulator, host: User, base_url: str) -> Meeting:
    """A meeting with its identifiers, not yet in the world."""
    serial = simulator.world.next_serial()
    number = meeting_number(serial)
    while number in simulator.world.meetings or number in simulator.world.deleted:
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


def publish(simulator: Simulator, meeting: Meeting) -> None:
    """Write down the secrets a meeting was given."""
    simulator.issue("passcode", meeting.password)
    simulator.issue("pwd", meeting.pwd)
    simulator.issue("join_url", meeting.join_url)


def edit(
    simulator: Simulator, meeting: Meeting, wanted: Json, operator: User, occurrence_id: str | None = None
) -> None:
    """Change a meeting, by the API or by a person in the web portal, and say what changed."""
    host, account = simulator.world.host(meeting), simulator.world.accounts[meeting.account_id]
    before, pwd = _announced(meeting), meeting.pwd
    if occurrence_id is not None:
        scheduling.change_occurrence(meeting, occurrence_id, wanted, simulator.now())
    else:
        scheduling.change(meeting, wanted, host, account, simulator.switches, simulator.now())
    if meeting.pwd != pwd:
        publish(simulator, meeting)
    old, new = _difference(before, _announced(meeting))
    if new:
        scope: Literal["all", "single"] = "all" if occurrence_id is None else "single"
        simulator.announce([notifications.meeting_updated(meeting, operator, old, new, simulator.now(), scope)])


def remove(simulator: Simulator, meeting: Meeting, operator: User) -> None:
    """Delete a meeting, by the API or by a person in the web portal, and say so."""
    simulator.world.deleted[meeting.id] = simulator.world.meetings.pop(meeting.id)
    simulator.announce([notifications.meeting_deleted(meeting, operator)])


def shown(simulator: Simulator, meeting: Meeting, host: User) -> Json:
    """A meeting as create and get answer it, with a fresh start URL that lives for two hours."""
    document: Json = _listed(meeting) | {
        "host_email": host.email,
        "assistant_id": "",
        "status": "waiting" if meeting.running is None else "started",
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
    if meeting.registration:
        document["registration_url"] = meeting.registration_url
    if meeting.recurrence is not None:
        document["recurrence"] = meeting.recurrence
        document["occurrences"] = meeting.occurrence_list()
    return document


def start_url(simulator: Simulator, meeting: Meeting, host: User) -> str:
    """A link that opens the meeting as its host, for two hours (contract 5.1)."""
    zak = simulator.issue("zak", f"eyJ{secrets.token_urlsafe(90)}")
    simulator.zaks[zak] = (host.id, simulator.now() + timedelta(hours=2))
    return simulator.issue("start_url", f"{meeting.base_url}/s/{meeting.id}?zak={zak}")


def _scheduled_for(call: Call, asking: User, key: str) -> User:
    account: Account = call.account
    other = next((user for user in account.users if key == user.id or key.lower() == user.email.lower()), None)
    if other is None:
        message = (
            "The value that you entered in the `schedule_for` field is invalid. Enter a valid value and try again."
        )
        raise errors.refusal(400, 300, message)
    if other is not asking and not is_wide(call.scope):
        raise errors.refusal(400, 3000, f"You cannot schedule a meeting for {key}")
    return other


def _listed(meeting: Meeting) -> Json:
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


def _announced(meeting: Meeting) -> Json:
    named = {name: value for name, value in _listed(meeting).items() if name not in ("id", "uuid", "host_id")}
    return named | {
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
