"""Zoom's Users API (contract 4): get a user, list users, get a user's settings and ZAK."""

import secrets
from datetime import timedelta

from app.simulator.clock import zoom_time
from app.simulator.errors import ZoomResponse, refusal, validation_failed
from app.simulator.operations import Call, Handler, Operation
from app.simulator.state import LICENSED, Json, User

_READ = ("user:read", "user:write")
_PROFILE = (*_READ, "user_profile", "user_info:read")
_ROLES = {"owner": ("0", "Owner"), "admin": ("1", "Admin"), "member": ("2", "Member")}
_SETTINGS_OPTIONS = ("meeting_authentication", "recording_authentication", "meeting_security")

GET_USER = Operation("user", "GET", "/users/{user_id}", "Light", "user:read:user", _PROFILE)
LIST_USERS = Operation("users", "GET", "/users", "Medium", "user:read:list_users:admin", _READ)
GET_SETTINGS = Operation("userSettings", "GET", "/users/{user_id}/settings", "Medium", "user:read:settings", _READ)
GET_TOKEN = Operation("userToken", "GET", "/users/{user_id}/token", "Light", "user:read:token", _READ)


def get_user(call: Call) -> ZoomResponse:
    """GET /users/{userId}."""
    user = call.user()
    role_id, role_name = _ROLES[user.role]
    profile = _list_item(user) | {
        "account_id": user.account_id,
        "account_number": call.account.number,
        "role_id": role_id,
        "role_name": role_name,
        "language": "en-US",
        "personal_meeting_url": f"{call.base_url}/j/{user.pmi}",
        "vanity_url": "",
        "pic_url": "",
        "jid": f"{user.id.lower()}@xmpp.zoom.us",
        "use_pmi": False,
        "cluster": "us06",
        "job_title": "",
        "company": call.account.name,
        "location": "",
        "pronouns": "",
        "phone_numbers": [],
        "created_at": zoom_time(user.created_at),
    }
    return ZoomResponse(200, profile)


def list_users(call: Call) -> ZoomResponse:
    """GET /users: the account's users of one `status`, paged. A pending user has no id yet."""
    status = call.query.get("status", "active")
    if status not in ("active", "inactive", "pending"):
        raise validation_failed([("status", "Invalid field.")])
    users = [_list_item(user) for user in call.account.users if user.status == status]
    greatest = call.simulator.switches.users_page_limit
    page, envelope = call.simulator.page_tokens.paginate(call.operation.path, call.query, users, call.now, greatest)
    return ZoomResponse(200, envelope | {"users": list(page)})


def get_settings(call: Call) -> ZoomResponse:
    """GET /users/{userId}/settings."""
    user = call.user()
    option = call.query.get("option")
    if option is None:
        return ZoomResponse(200, user.settings)
    if option not in _SETTINGS_OPTIONS:
        raise validation_failed([("option", "Invalid field.")])
    return ZoomResponse(200, {option: {} if option == "meeting_security" else False})


def get_token(call: Call) -> ZoomResponse:
    """GET /users/{userId}/token: a ZAK, which opens the start page as this user."""
    user = call.user()
    if call.query.get("type", "token") != "zak":
        raise refusal(400, 300, "Token is no longer supported. Please use ZAK token instead.")
    ttl = call.query.get("ttl", "7200")
    if not ttl.isdecimal() or int(ttl) > 31_536_000:
        raise validation_failed([("ttl", "Invalid field.")])
    zak = call.simulator.issue_secret("zak", f"eyJ{secrets.token_urlsafe(90)}")
    call.simulator.zaks[zak] = (user.id, call.now + timedelta(seconds=int(ttl)))
    return ZoomResponse(200, {"token": zak})


def _list_item(user: User) -> Json:
    item: Json = {
        "id": user.id,
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "display_name": user.name,
        "type": user.type,
        "status": user.status,
        "role_id": _ROLES[user.role][0],
        "pmi": user.pmi,
        "timezone": user.timezone,
        "dept": "",
        "verified": 1,
        "user_created_at": zoom_time(user.created_at),
        "last_login_time": zoom_time(user.created_at + timedelta(days=700)),
        "group_ids": [],
        "login_types": [100],
        "license_info_list": _licence(user),
    }
    if user.status == "pending":
        del item["id"]
    return item


def _licence(user: User) -> list[Json]:
    if user.type != LICENSED:
        return []
    return [{"license_type": "MEETING", "license_option": 2, "subscription_id": f"SUB-{user.account_id[:8]}"}]


OPERATIONS: list[tuple[Operation, Handler]] = [
    (GET_USER, get_user),
    (LIST_USERS, list_users),
    (GET_SETTINGS, get_settings),
    (GET_TOKEN, get_token),
]
