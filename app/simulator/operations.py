"""The frame of a REST operation: checks token, scope and limits, and passes a `Call` to its function.

An area (users, meetings, ...) is one file that lists `OPERATIONS`: pairs of an `Operation` and its function.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.simulator import errors
from app.simulator.errors import ZoomResponse
from app.simulator.limits import HOST_DAILY, RATE_LIMITS, Label, host_refusal, rate_headers, rate_refusal
from app.simulator.middleware import respond
from app.simulator.scopes import accepted_scopes, granting_scope, is_admin_scope
from app.simulator.simulator import Simulator
from app.simulator.state import BASIC, LICENSED, Account, Grant, Json, Meeting, User


@dataclass(frozen=True)
class Operation:
    """One method on one path, with Zoom's `operationId`, rate label and scopes from its API description."""

    id: str
    method: str
    path: str
    label: Label
    scope: str
    classic: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A permitted call. `scope` is the granted scope that permits it. `path` contains decoded segments."""

    simulator: Simulator
    operation: Operation
    grant: Grant
    scope: str
    base_url: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Json = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """The simulator's current time."""
        return self.simulator.now()

    @property
    def account(self) -> Account:
        """The Zoom account of the grant."""
        return self.simulator.state.accounts[self.grant.account_id]

    @property
    def caller(self) -> User:
        """The user who granted."""
        return next(user for user in self.account.users if user.id == self.grant.user_id)

    def user(self) -> User:
        """Return the user in the path: `me`, an id, or an e-mail address of the same account.

        A user-level grant reaches only its own user (contract 1). Raises 404/1001 and 4711.
        """
        key = self.path["user_id"]
        user = self.caller if key == "me" else self.simulator.state.user(key)
        if user is None or user.account_id != self.account.id:
            raise errors.user_missing(key)
        self.require_reach(user.id)
        return user

    def meeting(self, missing_code: int = 3001) -> Meeting:
        """Return the meeting in the path.

        Raises 400/300 if it is not a number, 404/3001, and 4711 beyond the grant's reach.
        """
        path_id = self.path["meeting_id"]
        if not path_id.isdecimal():
            raise errors.refusal(400, 300, "Invalid meeting ID.")
        meeting = self.simulator.state.meetings.get(int(path_id))
        if meeting is None or meeting.account_id != self.account.id or meeting.is_expired(self.now):
            raise errors.meeting_missing(path_id, missing_code)
        self.require_reach(meeting.host_id)
        return meeting

    def host(self, meeting: Meeting) -> User:
        """Return the owner of a meeting."""
        return self.simulator.state.host(meeting)

    def consume_host_quota(self, host: User) -> None:
        """Count one create or update against the host's hundred a day. Raises 429."""
        if not self.simulator.switches.enforce_limits:
            return
        if self.simulator.tally.remaining(host.id, HOST_DAILY, self.now) <= 0:
            raise host_refusal(self.now, self.simulator.switches)
        self.simulator.tally.spend(host.id, HOST_DAILY, self.now)

    def require_reach(self, user_id: str) -> None:
        """Check that the grant reaches a user: a user-level grant reaches only its own. Raises 4711."""
        if not is_admin_scope(self.scope) and user_id != self.grant.user_id:
            raise errors.scopes_missing([f"{self.operation.scope}:admin"], self.simulator.switches)


Handler = Callable[[Call], ZoomResponse]


def may_host(user: User) -> bool:
    """Return whether a user can host meetings at all."""
    return user.status == "active" and user.type in (BASIC, LICENSED)


def route(operation: Operation, handler: Handler, simulator: Simulator) -> Route:
    """Return the operation as a route below `/v2`."""

    async def endpoint(request: Request) -> Response:
        async def answer() -> ZoomResponse:
            call = await _authorized_call(operation, request, simulator)
            result = handler(call)
            headers = rate_headers(operation.label, None, 0, call.now, simulator.switches)
            return ZoomResponse(result.status, result.body, {**headers, **result.headers})

        request.state.entry.required_scopes = accepted_scopes(operation.scope)
        return await respond(request, simulator, operation.id, answer, operation.label)

    return Route(f"/v2{operation.path}", endpoint, methods=[operation.method])


async def _authorized_call(operation: Operation, request: Request, simulator: Simulator) -> Call:
    grant = _grant(request, simulator)
    entry = request.state.entry
    entry.account_id, entry.user_id = grant.account_id, grant.user_id
    entry.scope = granting_scope(operation.scope, operation.classic, grant.scopes)
    if entry.scope is None:
        raise errors.scopes_missing(accepted_scopes(operation.scope), simulator.switches)
    _apply_rate_limits(operation, grant, simulator)
    path = {name: unquote(segment) for name, segment in request.path_params.items()}
    base_url = simulator.base_url(str(request.base_url))
    body = _json_object(await request.body()) if operation.method in ("POST", "PATCH", "PUT") else {}
    return Call(simulator, operation, grant, entry.scope, base_url, path, dict(request.query_params), body)


def _grant(request: Request, simulator: Simulator) -> Grant:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise errors.token_missing()
    grant = next((grant for grant in simulator.state.grants if grant.alive and token in grant.access_tokens), None)
    if grant is None:
        raise errors.token_invalid()
    if grant.access_tokens[token] <= simulator.now():
        raise errors.token_expired(simulator.switches)
    return grant


def _apply_rate_limits(operation: Operation, grant: Grant, simulator: Simulator) -> None:
    if not simulator.switches.enforce_limits:
        return
    now = simulator.now()
    limits = RATE_LIMITS[simulator.state.accounts[grant.account_id].plan][operation.label]
    for limit in limits:
        if simulator.tally.remaining(grant.account_id, limit, now) <= 0:
            raise rate_refusal(operation.label, limit, now, simulator.switches)
    for limit in limits:
        simulator.tally.spend(grant.account_id, limit, now)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        raise errors.broken_json() from None
    if not isinstance(value, dict):
        raise errors.broken_json()
    return value
