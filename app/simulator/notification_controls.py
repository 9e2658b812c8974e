"""Controls under /simulator for notifications: their target, their secret, and their deliveries."""

import json
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, HTTPException, Query
from pydantic import Field

from app.simulator import ids
from app.simulator.clock import epoch_ms
from app.simulator.controls import ControlBody, Sim, find_user
from app.simulator.delivery import RESPONSE_TIMEOUT, Envelope
from app.simulator.signing import challenge_response
from app.simulator.simulator import Endpoint, Simulator

router = APIRouter(prefix="/simulator", tags=["notifications"])


class WebhookSettings(ControlBody):
    """Where notifications go. With `account_id`, that account's own subscription."""

    url: str | None = None
    secret: str | None = None
    account_id: str | None = None


class NotificationRequest(ControlBody):
    """A notification to sign and deliver once, whatever scopes are granted.

    `body` is sent as it is and takes precedence over `event` and `payload`. `secret` and `timestamp` replace the real
    ones.
    """

    event: str = "meeting.started"
    account_id: str | None = None
    payload: dict[str, Any] = Field(default_factory=dict)
    body: str | None = None
    secret: str | None = None
    timestamp: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    url: str | None = None


class AppRemoval(ControlBody):
    """The user who removes the app: id or e-mail. Without `notify`, the app finds out at its next call."""

    user: str
    notify: bool = True


@router.put("/webhooks")
async def set_webhooks(simulator: Sim, settings: WebhookSettings) -> dict[str, Any]:
    """Set where notifications go and which secret signs them."""
    simulator.subscribe(settings.url, settings.secret, settings.account_id)
    return {"url": simulator.config.webhook_url, "accounts": sorted(simulator.endpoints)}


@router.get("/deliveries")
async def deliveries(simulator: Sim, event: str | None = None) -> list[dict[str, Any]]:
    """Return every attempt to deliver a notification, and those withheld with the reason."""
    return [delivery for delivery in simulator.sender.deliveries if event in (None, delivery["event"])]


@router.post("/idle")
async def idle(simulator: Sim, timeout: Annotated[float, Query(gt=0, le=600)] = 10.0) -> dict[str, bool]:
    """Wait until no notification is queued, in flight or waiting for a retry.

    Raises 504 if that takes too long.
    """
    if not await simulator.sender.wait_idle(timeout):
        raise HTTPException(504, f"notifications are still under way after {timeout} s")
    return {"idle": True}


@router.post("/deauthorize")
async def deauthorize(simulator: Sim, removal: AppRemoval) -> dict[str, int]:
    """Remove the app as a user: the user's tokens become invalid and `app_deauthorized` is sent."""
    return {"grants": simulator.deauthorize(find_user(simulator, removal.user), notify=removal.notify)}


@router.post("/notifications")
async def notify(simulator: Sim, request: NotificationRequest) -> dict[str, Any]:
    """Sign and deliver any notification once. Returns the endpoint's response."""
    account_id = request.account_id or next(iter(simulator.state.accounts))
    document = {
        "event": request.event,
        "event_ts": epoch_ms(simulator.now()),
        "payload": {"account_id": account_id} | request.payload,
    }
    body = (request.body if request.body is not None else json.dumps(document)).encode()
    return await _deliver_once(simulator, account_id, request, body)


@router.post("/webhooks/validate")
async def validate(simulator: Sim, account_id: str | None = None) -> dict[str, Any]:
    """Send Zoom's `endpoint.url_validation`. Returns whether the endpoint passed, and its response."""
    plain_token = ids.random_id()
    document = {
        "event": "endpoint.url_validation",
        "payload": {"plainToken": plain_token},
        "event_ts": epoch_ms(simulator.now()),
    }
    request = NotificationRequest(event="endpoint.url_validation")
    result = await _deliver_once(simulator, account_id or "", request, json.dumps(document).encode())
    expected = {
        "plainToken": plain_token,
        "encryptedToken": challenge_response(_endpoint(simulator, account_id).secret, plain_token),
    }
    return result | {"valid": result["status"] == 200 and result["json"] == expected}


def _endpoint(simulator: Simulator, account_id: str | None) -> Endpoint:
    own = simulator.endpoints.get(account_id or "")
    return own or Endpoint(simulator.config.webhook_url or "", simulator.config.webhook_secret)


async def _deliver_once(
    simulator: Simulator, account_id: str, request: NotificationRequest, body: bytes
) -> dict[str, Any]:
    endpoint = _endpoint(simulator, account_id)
    url = request.url or endpoint.url
    if not url:
        raise HTTPException(409, "no endpoint: PUT /simulator/webhooks sets one")
    headers = simulator.sign(body, request.secret or endpoint.secret, request.timestamp) | request.headers
    envelope = Envelope(request.event, account_id, url, body, lambda: headers)
    response = await simulator.sender.attempt(envelope, 1, headers)
    if response is None:
        return {"status": None, "body": None, "json": None, "error": f"no answer within {RESPONSE_TIMEOUT} s"}
    return {"status": response.status_code, "body": response.text, "json": _json(response), "error": None}


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
