"""A client that drives the simulator over HTTP as an app registered at Zoom's Marketplace."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

import httpx

from app.simulator import Config
from app.simulator.simulator import Simulator
from tests.support.timeouts import TIMEOUT

CALLBACK = "https://app.example/callback"
SECRET = "webhook-secret"
CREDENTIALS = ("client-id", "client-secret")
GRANULAR = (
    "meeting:write:meeting",
    "meeting:read:meeting",
    "meeting:update:meeting",
    "meeting:update:status",
    "meeting:delete:meeting",
    "meeting:read:list_meetings",
    "meeting:write:registrant",
    "meeting:write:batch_registrants",
    "meeting:read:registrant",
    "meeting:read:list_registrants",
    "meeting:delete:registrant",
    "meeting:update:registrant_status",
    "meeting:read:participant",
    "user:read:user",
    "user:read:settings",
    "user:read:token",
    "user:read:list_users",
)
ADMIN_SCOPES = tuple(f"{scope}:admin" for scope in GRANULAR)
ADA, BEN, CLEO, WIL = (
    "ada@riverside.example",
    "ben@riverside.example",
    "cleo@riverside.example",
    "wil@willow.example",
)


def configuration(**changes: Any) -> Config:
    """Return the configuration of most tests: an admin-managed app, without limits."""
    settings: dict[str, Any] = {
        "client_id": CREDENTIALS[0],
        "client_secret": CREDENTIALS[1],
        "redirect_uris": [CALLBACK],
        "webhook_url": None,
        "webhook_secret": SECRET,
        "scopes": ADMIN_SCOPES,
        "enforce_limits": False,
    }
    return Config(**(settings | changes))


@dataclass
class ZoomDriver:
    """The simulator over HTTP, with the app's credentials, and the app behind it."""

    http: httpx.AsyncClient
    simulator: Simulator
    token: str = ""

    async def consent(self, email: str = ADA, **query: str) -> httpx.Response:
        """Approve the app as a user (or do what `decision` says)."""
        defaults = {
            "response_type": "code",
            "client_id": CREDENTIALS[0],
            "redirect_uri": CALLBACK,
            "state": "the state",
            "as": email,
            "decision": "approve",
        }
        return await self.http.get("/oauth/authorize", params=defaults | query)

    async def code(self, email: str = ADA, **query: str) -> str:
        """Return an authorization code."""
        response = await self.consent(email, **query)
        assert response.status_code == 302, response.text
        return httpx.URL(response.headers["location"]).params["code"]

    async def exchange(self, code: str, **form: str) -> httpx.Response:
        """Exchange a code for tokens."""
        data = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK} | form
        return await self.http.post("/oauth/token", data=data, auth=CREDENTIALS)

    async def refresh(self, token: str) -> httpx.Response:
        """Exchange a refresh token for a new pair."""
        data = {"grant_type": "refresh_token", "refresh_token": token}
        return await self.http.post("/oauth/token", data=data, auth=CREDENTIALS)

    async def connect(self, email: str = ADA) -> dict[str, Any]:
        """Consent and exchange. Later calls use the token."""
        response = await self.exchange(await self.code(email))
        assert response.status_code == 200, response.text
        tokens: dict[str, Any] = response.json()
        self.token = tokens["access_token"]
        return tokens

    async def call(self, method: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        """Call the REST API."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self.http.request(method, f"/v2{path}", json=body, params=query or None, headers=headers)

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call a control, which must succeed."""
        response = await self.http.request(method, f"/simulator{path}", json=body)
        assert response.is_success, response.text
        return response.json()

    async def meeting(self, host: str = ADA, approval_type: int = 1, **fields: Any) -> dict[str, Any]:
        """Create a meeting, with registration by default."""
        body = {"topic": "Choir", "start_time": "2099-01-10T15:00:00Z", "settings": {"approval_type": approval_type}}
        response = await self.call("POST", f"/users/{host}/meetings", body | fields)
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json()
        return created

    async def add(self, meeting_id: int, email: str = "mia@member.example", **fields: Any) -> httpx.Response:
        """Add a registrant who is approved at once."""
        body = {"email": email, "first_name": "Mia", "last_name": "Moss", "auto_approve": True} | fields
        return await self.call("POST", f"/meetings/{meeting_id}/registrants", body)


def signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Verify Zoom's signature with a computation of its own (contract 11.2)."""
    message = f"v0:{headers['x-zm-request-timestamp']}:".encode() + body
    expected = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
    return headers["x-zm-signature"] == f"v0={expected}"


async def wait_for_deliveries(zoom: ZoomDriver) -> list[dict[str, Any]]:
    """Return the deliveries once none is pending."""
    await zoom.control("POST", f"/idle?timeout={TIMEOUT:.0f}")
    deliveries: list[dict[str, Any]] = await zoom.control("GET", "/deliveries")
    return deliveries
