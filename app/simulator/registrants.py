"""Zoom's registrants (contract 6): add, list, read and remove them, and change their status."""

import secrets
from typing import Any

from app.simulator import errors, notifications, validation
from app.simulator.clock import zoom_time
from app.simulator.errors import ZoomResponse
from app.simulator.ids import random_id, random_pin_code
from app.simulator.limits import REGISTRANT_DAILY, STATUS_DAILY, registrant_refusal, status_refusal
from app.simulator.operations import Call, Handler, Operation
from app.simulator.scheduling import alternative_hosts
from app.simulator.simulator import Simulator
from app.simulator.state import SCHEDULED, Json, Meeting, Registrant, User

_READ, _WRITE = ("meeting:read",), ("meeting:write",)
_ALL = "/meetings/{meeting_id}/registrants"
_ONE = f"{_ALL}/{{registrant_id}}"
_BATCH_PATH = "/meetings/{meeting_id}/batch_registrants"

ADD = Operation("meetingRegistrantCreate", "POST", _ALL, "Light", "meeting:write:registrant", _WRITE)
BATCH = Operation("addBatchRegistrants", "POST", _BATCH_PATH, "Heavy", "meeting:write:batch_registrants", _WRITE)
LIST = Operation("meetingRegistrants", "GET", _ALL, "Medium", "meeting:read:list_registrants", _READ)
GET = Operation("meetingRegistrantGet", "GET", _ONE, "Light", "meeting:read:registrant", _READ)
DELETE = Operation("meetingregistrantdelete", "DELETE", _ONE, "Light", "meeting:delete:registrant", _WRITE)
CHANGE = Operation(
    "meetingRegistrantStatus", "PUT", f"{_ALL}/status", "Medium", "meeting:update:registrant_status", _WRITE
)

_ALLOWED_FROM = {"approve": ("pending", "denied"), "cancel": ("approved", "pending"), "deny": ("approved", "pending")}


def add(call: Call) -> ZoomResponse:
    """POST .../registrants: 201, without `join_url` while the registrant is pending."""
    switches = call.simulator.switches
    meeting = call.meeting(missing_code=switches.unknown_meeting_on_add)
    person = _person(call.body)
    _require_can_register(call, meeting, person["email"], switches.registration_off)
    _consume_add_quota(call, meeting, person["email"])
    registrant = register(call.simulator, meeting, person, call.base_url)
    document: Json = {
        "id": meeting.id,
        "registrant_id": registrant.id,
        "topic": meeting.topic,
        "participant_pin_code": registrant.pin,
    }
    if meeting.start_time is not None:
        document["start_time"] = zoom_time(meeting.start_time)
    if registrant.status == "approved":
        document["join_url"] = registrant.join_url
    if meeting.occurrences:
        document["occurrences"] = meeting.occurrence_list()
    return ZoomResponse(201, document)


def batch(call: Call) -> ZoomResponse:
    """POST .../batch_registrants: 201, at most thirty, and only for a scheduled meeting (type 2)."""
    meeting = call.meeting()
    listed = call.body.get("registrants")
    if not isinstance(listed, list) or not 0 < len(listed) <= 30:
        raise errors.validation_failed([("registrants", "Invalid field.")])
    if meeting.type != SCHEDULED:
        raise errors.refusal(400, 303, "This API can only be used for scheduled meeting(meeting type: 2).")
    auto_approve = call.body.get("auto_approve") is True
    people = [_person({**item, "auto_approve": auto_approve}) for item in listed if isinstance(item, dict)]
    for person in people:
        _require_can_register(call, meeting, person["email"], "400/404")
        _consume_add_quota(call, meeting, person["email"])
    added = [register(call.simulator, meeting, person, call.base_url) for person in people]
    return ZoomResponse(201, {"registrants": [_batch_item(registrant) for registrant in added]})


def list_registrants(call: Call) -> ZoomResponse:
    """GET .../registrants: those of one status, paged. Cancelled ones are in none of the lists."""
    meeting = _meeting_with_registration(call)
    status = call.query.get("status", "approved")
    if status not in ("approved", "pending", "denied"):
        raise errors.validation_failed([("status", "Invalid field.")])
    found = [registrant for registrant in meeting.registrants.values() if registrant.status == status]
    page, envelope = call.simulator.page_tokens.paginate(
        f"{call.operation.path}{meeting.id}", call.query, found, call.now
    )
    return ZoomResponse(200, envelope | {"registrants": [_to_json(registrant) for registrant in page]})


def get(call: Call) -> ZoomResponse:
    """GET .../registrants/{registrantId}."""
    return ZoomResponse(200, _to_json(_registrant(call, _meeting_with_registration(call))))


def delete(call: Call) -> ZoomResponse:
    """DELETE .../registrants/{registrantId}: 204."""
    meeting = _meeting_with_registration(call, shape="400/300")
    registrant = _registrant(call, meeting)
    del meeting.registrants[registrant.id]
    return ZoomResponse(204)


def change(call: Call) -> ZoomResponse:
    """PUT .../registrants/status: 204, also if none of the listed registrants was found."""
    meeting = call.meeting()
    action = call.body.get("action")
    if action not in _ALLOWED_FROM:
        raise errors.validation_failed([("action", "Invalid field.")])
    listed = call.body.get("registrants", [])
    if not isinstance(listed, list) or len(listed) > 30:
        raise errors.validation_failed([("registrants", "Invalid field.")])
    named = [registrant for item in listed if (registrant := _find_listed(meeting, item)) is not None]
    _consume_status_quota(call, named)
    for registrant in named:
        set_status(call.simulator, meeting, registrant, action, call.caller)
    return ZoomResponse(204)


def register(simulator: Simulator, meeting: Meeting, profile: Json, base_url: str) -> Registrant:
    """Add a registrant, or find an existing one.

    The same e-mail address is the same registrant (row 13), unless that one was cancelled or denied. `profile` contains
    accepted fields. Approval type 0 approves at once; type 1 waits unless `auto_approve` is set.
    """
    profile = dict(profile)
    approved = profile.pop("auto_approve", False) or meeting.settings["approval_type"] == 0
    existing = find(meeting, profile["email"]) if simulator.switches.same_email == "same" else None
    if existing is None and simulator.switches.cancelled_email == "same":
        existing = _cancelled(meeting, profile["email"])
    if existing is not None:
        if approved and existing.status != "approved":
            existing.status = "pending"
            set_status(simulator, meeting, existing, "approve", simulator.state.host(meeting))
        return existing
    tk = simulator.issue_secret("tk", secrets.token_urlsafe(48))
    base_url = simulator.switches.link_base or base_url
    join_url = f"{base_url}/w/{meeting.id}?tk={tk}" + (f"&pwd={meeting.pwd}" if meeting.pwd else "")
    registrant = Registrant(
        id=random_id(),
        email=profile.pop("email"),
        first_name=profile.pop("first_name"),
        last_name=profile.pop("last_name", ""),
        status="approved" if approved else "pending",
        created_at=simulator.now(),
        tk=tk,
        join_url=simulator.issue_secret("registrant_join_url", join_url),
        pin=random_pin_code(),
        profile=profile,
    )
    meeting.registrants[registrant.id] = registrant
    simulator.send_notifications([notifications.registration_created(meeting, registrant)])
    return registrant


def set_status(simulator: Simulator, meeting: Meeting, registrant: Registrant, action: str, operator: User) -> None:
    """Approve, cancel or deny. A change that makes no sense in the registrant's status does nothing."""
    if registrant.status not in _ALLOWED_FROM[action]:
        return
    registrant.status = "approved" if action == "approve" else "cancelled" if action == "cancel" else "denied"
    simulator.send_notifications([notifications.registration_changed(meeting, registrant, operator)])


def find(meeting: Meeting, email: str) -> Registrant | None:
    """Return the registrant with an e-mail address who is approved or pending."""
    return next(
        (
            registrant
            for registrant in meeting.registrants.values()
            if registrant.email.lower() == email.lower() and registrant.status in ("approved", "pending")
        ),
        None,
    )


def _cancelled(meeting: Meeting, email: str) -> Registrant | None:
    matching = [each for each in meeting.registrants.values() if each.email.lower() == email.lower()]
    return next((each for each in reversed(matching) if each.status == "cancelled"), None)


def require_admissible(simulator: Simulator, meeting: Meeting, email: str) -> None:
    """Check that a person can join a meeting with registration. Raises 3027, 3038 or 3043."""
    account = simulator.state.accounts[meeting.account_id]
    hosts = [simulator.state.host(meeting), *alternative_hosts(meeting, account)]
    if email.lower() in [host.email.lower() for host in hosts]:
        raise errors.host_cannot_register()
    if meeting.is_over(simulator.now()):
        raise errors.meeting_over()
    coming = sum(registrant.status in ("approved", "pending") for registrant in meeting.registrants.values())
    if coming >= simulator.switches.registrant_capacity and find(meeting, email) is None:
        raise errors.meeting_full()


def _person(body: Json) -> Json:
    person, wrong = validation.check_fields(body, validation.REGISTRANT)
    wrong += [(name, "Invalid field.") for name in ("first_name", "email") if name not in person]
    if wrong:
        raise errors.validation_failed(wrong)
    return person


def _require_can_register(call: Call, meeting: Meeting, email: str, shape: str) -> None:
    if not meeting.requires_registration:
        raise errors.registration_off(meeting.id, shape)
    require_admissible(call.simulator, meeting, email)


def _consume_add_quota(call: Call, meeting: Meeting, email: str) -> None:
    simulator = call.simulator
    if not simulator.switches.enforce_limits:
        return
    key = email.lower() if simulator.switches.registrant_limit_key == "email" else f"{meeting.id} {email.lower()}"
    if simulator.tally.remaining(key, REGISTRANT_DAILY, call.now) <= 0:
        raise registrant_refusal(email, call.now, simulator.switches)
    simulator.tally.spend(key, REGISTRANT_DAILY, call.now)


def _consume_status_quota(call: Call, named: list[Registrant]) -> None:
    simulator = call.simulator
    if not simulator.switches.enforce_limits:
        return
    for registrant in named:
        if simulator.tally.remaining(registrant.id, STATUS_DAILY, call.now) <= 0:
            raise status_refusal(registrant.email, call.now, simulator.switches)
    for registrant in named:
        simulator.tally.spend(registrant.id, STATUS_DAILY, call.now)


def _meeting_with_registration(call: Call, shape: str = "400/404") -> Meeting:
    meeting = call.meeting()
    if not meeting.requires_registration:
        raise errors.registration_off(meeting.id, shape)
    return meeting


def _registrant(call: Call, meeting: Meeting) -> Registrant:
    registrant = meeting.registrants.get(call.path["registrant_id"])
    if registrant is None:
        raise errors.refusal(400, 300, "Invalid registrant id.")
    return registrant


def _find_listed(meeting: Meeting, item: Any) -> Registrant | None:
    if not isinstance(item, dict):
        return None
    by_id = meeting.registrants.get(str(item.get("id", "")))
    if by_id is not None:
        return by_id
    email = str(item.get("email", "")).lower()
    return next((r for r in reversed(meeting.registrants.values()) if r.email.lower() == email), None)


def _batch_item(registrant: Registrant) -> Json:
    document: Json = {
        "email": registrant.email,
        "registrant_id": registrant.id,
        "participant_pin_code": registrant.pin,
    }
    return document | ({"join_url": registrant.join_url} if registrant.status == "approved" else {})


def _to_json(registrant: Registrant) -> Json:
    document: Json = {
        "id": registrant.id,
        "email": registrant.email,
        "first_name": registrant.first_name,
        "last_name": registrant.last_name,
        "status": registrant.status,
        "create_time": zoom_time(registrant.created_at),
        "participant_pin_code": registrant.pin,
    }
    link = {"join_url": registrant.join_url} if registrant.status == "approved" else {}
    return registrant.profile | document | link


OPERATIONS: list[tuple[Operation, Handler]] = [
    (ADD, add),
    (BATCH, batch),
    (LIST, list_registrants),
    (CHANGE, change),
    (GET, get),
    (DELETE, delete),
]
