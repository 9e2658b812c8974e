"""Controls under /simulator: journal, state, reset, accounts, users, clock, switches, faults, app, secrets.

They are about the simulator as a whole. Meetings and notifications have controls of their own.
"""

from dataclasses import asdict, replace
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.simulator import seed
from app.simulator.clock import Clock
from app.simulator.faults import Faults
from app.simulator.seed import add_user, new_account
from app.simulator.simulator import Simulator
from app.simulator.state import Grant, Json, Meeting, Plan, Role, User
from app.simulator.switches import Switches

router = APIRouter(prefix="/simulator", tags=["controls"])


def get_simulator(request: Request) -> Simulator:
    """Return the simulator this app runs."""
    simulator: Simulator = request.app.state.simulator
    return simulator


Sim = Annotated[Simulator, Depends(get_simulator)]


class ControlBody(BaseModel):
    """The body of a control. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class NewUser(ControlBody):
    """A user of a new account."""

    email: str
    first_name: str = ""
    last_name: str = ""
    type: Literal[1, 2, 4, 99] = 2
    role: Role = "member"
    status: Literal["active", "inactive", "pending"] = "active"


class NewAccount(ControlBody):
    """A new Zoom account. If none of the users is an owner, the first one becomes it."""

    name: str
    plan: Plan = "business"
    cloud_recording: bool = True
    users: list[NewUser] = Field(min_length=1)


class UserChange(ControlBody):
    """Changes that an admin makes to a user in Zoom's web portal. `settings` is merged group by group."""

    type: Literal[1, 2, 4, 99] | None = None
    status: Literal["active", "inactive", "pending"] | None = None
    role: Role | None = None
    first_name: str | None = None
    last_name: str | None = None
    settings: dict[str, dict[str, Any]] = {}


class ClockShift(ControlBody):
    """How many seconds the simulator's clock is ahead of the real one."""

    seconds: float


class AppRegistration(ControlBody):
    """Changes to the app's registration. Absent fields stay. Tokens keep the scopes they were granted."""

    client_secret: str | None = None
    redirect_uris: list[str] | None = None
    scopes: list[str] | None = None


@router.get("/journal")
async def journal(
    simulator: Sim, operation: str | None = None, since: Annotated[int, Query(ge=0)] = 0
) -> list[dict[str, Any]]:
    """Return every request, oldest first: those of one operation, or from entry number `since` on."""
    entries = list(simulator.journal)[since:]
    return [entry.to_json() for entry in entries if operation in (None, entry.operation)]


@router.get("/state")
async def state(simulator: Sim) -> dict[str, Any]:
    """Return everything Zoom stores, except tokens."""
    zoom_state = simulator.state
    return {
        "now": simulator.now(),
        "accounts": [asdict(account) for account in zoom_state.accounts.values()],
        "meetings": [meeting_json(meeting) for meeting in zoom_state.meetings.values()],
        "deleted_meetings": [meeting_json(meeting) for meeting in zoom_state.deleted.values()],
        "grants": [_grant_json(grant) for grant in zoom_state.grants],
        "scopes": list(simulator.config.scopes),
        "switches": simulator.switches,
        "faults": simulator.faults,
        "webhooks": {"url": simulator.config.webhook_url, "accounts": sorted(simulator.endpoints)},
    }


@router.post("/reset")
async def reset(simulator: Sim) -> dict[str, bool]:
    """Reset the simulator to its initial state."""
    await simulator.reset()
    return {"reset": True}


@router.post("/accounts", status_code=201)
async def create_account(simulator: Sim, body: NewAccount) -> dict[str, Any]:
    """Create one more Zoom account with users."""
    taken = [user.email for user in body.users if simulator.state.user(user.email) is not None]
    if taken or any(account.name == body.name for account in simulator.state.accounts.values()):
        raise HTTPException(409, f"name or e-mail already in use: {', '.join(taken) or body.name}")
    account = new_account(simulator.state, body.name, body.plan)
    has_owner = any(user.role == "owner" for user in body.users)
    for number, user in enumerate(body.users):
        role: Role = "owner" if not has_owner and number == 0 else user.role
        names = (user.first_name or user.email.partition("@")[0].title(), user.last_name)
        recording = body.cloud_recording
        add_user(account, user.email, names, user.type, role, cloud_recording=recording, status=user.status)
    return asdict(account)


@router.patch("/users/{user}")
async def change_user(simulator: Sim, user: str, change: UserChange) -> dict[str, Any]:
    """Change a user's licence, status, role, name or settings. A new licence brings its default settings."""
    zoom_user = find_user(simulator, user)
    if change.type is not None and change.type != zoom_user.type:
        zoom_user.type = change.type
        plan = simulator.state.accounts[zoom_user.account_id].plan
        zoom_user.settings = seed.user_settings(plan, zoom_user.type, cloud_recording=plan != "free")
    for name in ("status", "role", "first_name", "last_name"):
        setattr(zoom_user, name, getattr(change, name) or getattr(zoom_user, name))
    for group, values in change.settings.items():
        zoom_user.settings[group] = zoom_user.settings.get(group, {}) | values
    return asdict(zoom_user)


@router.get("/switches")
async def read_switches(simulator: Sim) -> Switches:
    """Return how this Zoom behaves where the sources disagree."""
    return simulator.switches


@router.put("/switches")
async def set_switches(simulator: Sim, change: Annotated[dict[str, Any], Body()]) -> Switches:
    """Set the switches that are named. The others stay."""
    try:
        simulator.switches = Switches.model_validate(simulator.switches.model_dump() | change)
    except ValidationError as wrong:
        raise RequestValidationError(wrong.errors(include_url=False, include_context=False)) from None
    return simulator.switches


@router.put("/clock")
async def set_clock(simulator: Sim, shift: ClockShift) -> dict[str, Any]:
    """Move the simulator's clock."""
    simulator.clock = Clock(timedelta(seconds=shift.seconds))
    return {"now": simulator.now()}


@router.put("/faults")
async def set_faults(simulator: Sim, faults: Faults) -> Faults:
    """Replace the faults in force. Calls that wait for a latency go on."""
    simulator.set_faults(faults)
    return faults


@router.put("/app")
async def set_app(simulator: Sim, body: AppRegistration) -> dict[str, Any]:
    """Change the app's registration."""
    present = {name: value for name, value in body.model_dump().items() if value is not None}
    simulator.config = replace(simulator.config, **present)
    return {"scopes": list(simulator.config.scopes), "redirect_uris": list(simulator.config.redirect_uris)}


@router.get("/secrets")
async def issued_secrets(simulator: Sim) -> list[dict[str, Any]]:
    """Return every secret that was ever issued, so that a test can search for them."""
    return simulator.secrets


def find_user(simulator: Simulator, key: str) -> User:
    """Return the user with this id or e-mail address. Raises 404, which names the key."""
    user = simulator.state.user(key)
    if user is None:
        raise HTTPException(404, f"no Zoom user {key!r}")
    return user


def meeting_json(meeting: Meeting) -> Json:
    """Return a meeting with everything stored about it."""
    return asdict(meeting) | {
        "join_url": meeting.join_url,
        "registration_url": meeting.registration_url,
        "running": meeting.running_instance is not None,
        "registrants": [asdict(registrant) for registrant in meeting.registrants.values()],
    }


def _grant_json(grant: Grant) -> Json:
    return {
        "user_id": grant.user_id,
        "account_id": grant.account_id,
        "scopes": grant.scopes,
        "created_at": grant.created_at,
        "alive": grant.alive,
        "access_tokens": len(grant.access_tokens),
    }
