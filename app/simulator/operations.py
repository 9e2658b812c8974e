"""An operation of Zoom's REST API: what it needs before it is done, and what it is handed.

An area (users, meetings, ...) is one file that lists `OPERATIONS`: pairs of an `Operation` and the function that
does it.
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
from app.simulator.errors import Answer
from app.simulator.limits import HOST_DAILY, QUOTAS, Label, host_refusal, rate_headers, rate_refusal
from app.simulator.scopes import is_wide, needed, permitting
from app.simulator.simulator import Simulator
from app.simulator.state import BASIC, LICENSED, Account, Grant, Json, Meeting, User
from app.simulator.wire import answer


@dataclass(frozen=True)
class Operation:
    """One method on one path: Zoom's `operationId`, rate label and scopes, as its API description publishes them."""

    id: str
    method: str
    path: str
    label: Label
    scope: str
    classic: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A permitted call. `scope` is the granted scope that permits it; `path` holds decoded segments."""

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
        """The simulator's present."""
        return self.simulator.now()

    @property
    def account(self) -> Account:
        """The Zoom account that granted."""
        return self.simulator.world.accounts[self.grant.account_id]

    @property
    def caller(self) -> User:
        """Who granted."""
        return next(user for user in self.account.users if user.id == self.grant.user_id)

    def user(self) -> User:
        """The user in the path: `me`, an id or an e-mail of the same account.

        A user-level grant reaches only its own user (contract 1). Raises 404/1001 and 4711.
        """
        key = self.path["user_id"]
        user = self.caller if key == "me" else self.simulator.world.user(key)
        if user is None or user.account_id != self.account.id:
            raise errors.user_missing(key)
        self.reach(user.id)
        return user

    def meeting(self, missing_code: int = 3001) -> Meeting:
        """The meeting in the path. Raises 400/300 for what is no number, 404/3001, 4711 beyond the grant's reach."""
        written = self.path["meeting_id"]
        if not written.isdecimal():
            raise errors.refusal(400, 300, "Invalid meeting ID.")
        meeting = self.simulator.world.meetings.get(int(written))
        if meeting is None or meeting.account_id != self.account.id or meeting.expired(self.now):
            raise errors.meeting_missing(written, missing_code)
        self.reach(meeting.host_id)
        return meeting

    def host(self, meeting: Meeting) -> User:
        """The owner of a meeting."""
        return self.simulator.world.host(meeting)

    def spend_host_budget(self, host: User) -> None:
        """Count one create or update against the host's hundred a day. Raises 429."""
        if not self.simulator.switches.enforce_limits:
            return
        if self.simulator.tally.left(host.id, HOST_DAILY, self.now) <= 0:
            raise host_refusal(self.now, self.simulator.switches)
        self.simulator.tally.spend(host.id, HOST_DAILY, self.now)

    def reach(self, user_id: str) -> None:
        """Hold a user-level grant to its own user. Raises 4711."""
        if not is_wide(self.scope) and user_id != self.grant.user_id:
            raise errors.scopes_missing([f"{self.operation.scope}:admin"], self.simulator.switches)


Handler = Callable[[Call], Answer]


def may_host(user: User) -> bool:
    """Whether a user can hold meetings at all."""
    return user.status == "active" and user.type in (BASIC, LICENSED)


def route(operation: Operation, handler: Handler, simulator: Simulator) -> Route:
    """The operation as a route below `/v2`."""

    async def endpoint(request: Request) -> Response:
        async def produce() -> Answer:
            call = await _permitted(operation, request, simulator)
            result = handler(call)
            headers = rate_headers(operation.label, None, 0, call.now, simulator.switches)
            return Answer(result.status, result.body, {**headers, **result.headers})

        request.state.entry.required_scopes = needed(operation.scope)
        return await answer(request, simulator, operation.id, produce, operation.label)

    return Route(f"/v2{operation.path}", endpoint, methods=[operation.method])


async def _permitted(operation: Operation, request: Request, simulator: Simulator) -> Call:
    grant = _grant(request, simulator)
    entry = request.state.entry
    entry.account_id, entry.user_id = grant.account_id, grant.user_id
    entry.scope = permitting(operation.scope, operation.classic, grant.scopes)
    if entry.scope is None:
        raise errors.scopes_missing(needed(operation.scope), simulator.switches)
    _pace(operation, grant, simulator)
    path = {name: unquote(segment) for name, segment in request.path_params.items()}
    base_url = simulator.base_url(str(request.base_url))
    body = _json_object(await request.body()) if operation.method in ("POST", "PATCH", "PUT") else {}
    return Call(simulator, operation, grant, entry.scope, base_url, path, dict(request.query_params), body)


def _grant(request: Request, simulator: Simulator) -> Grant:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise errors.token_missing()
    grant = next((grant for grant in simulator.world.grants if grant.alive and token in grant.access_tokens), None)
    if grant is None:
        raise errors.token_invalid()
    if grant.access_tokens[token] <= simulator.now():
        raise errors.token_expired(simulator.switches)
    return grant


def _pace(operation: Operation, grant: Grant, simulator: Simulator) -> None:
    if not simulator.switches.enforce_limits:
        return
    now = simulator.now()
    limits = QUOTAS[simulator.world.accounts[grant.account_id].plan][operation.label]
    for limit in limits:
        if simulator.tally.left(grant.account_id, limit, now) <= 0:
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
