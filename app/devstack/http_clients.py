"""HTTP clients that call as the SPA, a browser and Zoom do, with the checks of the demo."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import httpx

from app.devstack.personas import COMMUNITY, TokenSigner

T = TypeVar("T")
Headers = Mapping[str, str]

# Paths of the API for the personas' community.
SLUG = COMMUNITY["slug"]
INTEGRATION = f"/api/communities/{SLUG}/integrations/zoom"
EVENTS = f"/api/communities/{SLUG}/events"

TIMEOUT = 60.0  # seconds until the demo gives up on something that should happen by itself
POLL_INTERVAL = 0.05  # seconds between two probes


class StepFailed(Exception):
    """A step did not show what the plan promises. The text says what came instead."""


def expect(condition: bool, message: str) -> None:
    """Raise StepFailed with `message` unless the condition is true."""
    if not condition:
        raise StepFailed(message)


async def until(description: str, probe: Callable[[], Awaitable[T | None]], seconds: float = TIMEOUT) -> T:
    """Call `probe` repeatedly and return the first true result.

    Raises StepFailed after `seconds`; `description` names what was awaited.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (found := await probe()):
        if loop.time() > deadline:
            raise StepFailed(f"waited {seconds:.0f} s in vain until {description}")
        await asyncio.sleep(POLL_INTERVAL)
    return found


@dataclass(frozen=True)
class RecordedResponse:
    """A response of the API. `location` is separate because only this header may contain a Zoom link."""

    who: str | None
    method: str
    path: str
    status: int
    headers: dict[str, str]
    location: str | None
    body: str


class ApiClient:
    """A client of the API for all personas. It records every response."""

    def __init__(self, url: str, signer: TokenSigner) -> None:
        self.url = url
        self.responses: list[RecordedResponse] = []
        self._signer = signer
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=TIMEOUT)

    async def call(
        self,
        who: str | None,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request as the persona `who`, or without a token if None.

        Raises StepFailed, with the response, unless its status is `status`.
        """
        authorization = {"Authorization": f"Bearer {self._signer.token(who)}"} if who else {}
        response = await self._http.request(method, path, json=body, headers={**authorization, **(headers or {})})
        self._record(who, response)
        if response.status_code != status:
            request = f"{method} {response.request.url.path}"
            raise StepFailed(f"{request} answered {response.status_code} instead of {status}: {_describe(response)}")
        return response

    @contextlib.asynccontextmanager
    async def stream(self, who: str, path: str) -> AsyncIterator[httpx.Response]:
        """Open a GET whose response does not end by itself. Raises StepFailed if the status is not 200."""
        authorization = {"Authorization": f"Bearer {self._signer.token(who)}"}
        async with self._http.stream("GET", path, headers=authorization, timeout=None) as response:
            expect(response.status_code == 200, f"GET {path} answered {response.status_code}")
            yield response

    async def get(self, who: str | None, path: str) -> Any:
        """Return the JSON of a GET."""
        return (await self.call(who, "GET", path)).json()

    def recorded_responses(self) -> list[dict[str, Any]]:
        """Return every response so far as JSON."""
        return [asdict(response) for response in self.responses]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _record(self, who: str | None, response: httpx.Response) -> None:
        headers = {name: value for name, value in response.headers.items() if name != "location"}
        request = response.request
        location = response.headers.get("location")
        self.responses.append(
            RecordedResponse(
                who, request.method, request.url.path, response.status_code, headers, location, response.text
            )
        )


def _describe(response: httpx.Response) -> str:
    if "json" not in response.headers.get("content-type", ""):
        return response.text[:200]
    body = response.json()
    return f"{body.get('type', '').rpartition('/')[2]}: {body.get('detail', '')}" if isinstance(body, dict) else ""


class SimulatorClient:
    """A client of the simulated Zoom: its pages as a browser sees them, its controls, and its journal."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=TIMEOUT)

    async def visit(self, url: str) -> httpx.Response:
        """Open a page without following redirects."""
        return await self._http.get(url)

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call a control of the simulator and return its JSON. Raises StepFailed if it refuses."""
        response = await self._http.request(method, f"/simulator/{path}", json=body)
        expect(response.is_success, f"inside Zoom, {path} answered {response.status_code}: {response.text[:200]}")
        return response.json()

    async def journal(self, since: int = 0) -> list[dict[str, Any]]:
        """Return every request Zoom received, from entry number `since` on."""
        entries: list[dict[str, Any]] = await self.control("GET", f"journal?since={since}")
        return entries

    async def deliveries(self, since: int = 0) -> list[dict[str, Any]]:
        """Return every attempt to deliver a notification, and those that were withheld."""
        attempts: list[dict[str, Any]] = await self.control("GET", "deliveries")
        return attempts[since:]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
