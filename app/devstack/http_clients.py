"""Calls over HTTP as the SPA, a browser and Zoom make them, and what must hold of their answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import httpx

from app.devstack.personas import COMMUNITY, TokenSigner

T = TypeVar("T")
Headers = Mapping[str, str]

# Paths of the API for the community of the personas.
SLUG = COMMUNITY["slug"]
INTEGRATION = f"/api/communities/{SLUG}/integrations/zoom"
EVENTS = f"/api/communities/{SLUG}/events"

TIMEOUT = 60.0  # seconds for whatever happens by itself
POLL_INTERVAL = 0.05


class StepFailed(Exception):
    """A step did not show what the plan promises; the text says what came instead."""


def expect(condition: bool, message: str) -> None:
    """Raises StepFailed unless what was expected holds."""
    if not condition:
        raise StepFailed(message)


async def until(description: str, probe: Callable[[], Awaitable[T | None]], seconds: float = TIMEOUT) -> T:
    """The first true thing `probe` finds, asked again and again; StepFailed names what was awaited in vain."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (found := await probe()):
        if loop.time() > deadline:
            raise StepFailed(f"waited {seconds:.0f} s in vain until {description}")
        await asyncio.sleep(POLL_INTERVAL)
    return found


@dataclass(frozen=True)
class RecordedResponse:
    """What the API answered somebody; `location` stands apart, for it alone may hold a Zoom link."""

    who: str | None
    method: str
    path: str
    status: int
    headers: dict[str, str]
    location: str | None
    body: str


class ApiClient:
    """The service as its callers see it. Every answer is kept."""

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
        """A request as somebody of the cast, or as nobody. StepFailed names the answer that is not `status`."""
        authorization = {"Authorization": f"Bearer {self._signer.token(who)}"} if who else {}
        response = await self._http.request(method, path, json=body, headers={**authorization, **(headers or {})})
        self._record(who, response)
        if response.status_code != status:
            request = f"{method} {response.request.url.path}"
            raise StepFailed(f"{request} answered {response.status_code} instead of {status}: {_describe(response)}")
        return response

    @contextlib.asynccontextmanager
    async def stream(self, who: str, path: str) -> AsyncIterator[httpx.Response]:
        """A GET whose answer goes on for as long as it is wanted. StepFailed where it is refused."""
        authorization = {"Authorization": f"Bearer {self._signer.token(who)}"}
        async with self._http.stream("GET", path, headers=authorization, timeout=None) as response:
            expect(response.status_code == 200, f"GET {path} answered {response.status_code}")
            yield response

    async def get(self, who: str | None, path: str) -> Any:
        """The JSON a GET answers."""
        return (await self.call(who, "GET", path)).json()

    def recorded_responses(self) -> list[dict[str, Any]]:
        """Every answer so far, as JSON."""
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
    """The simulated Zoom: its pages as a browser sees them, what people do inside it, and what it wrote down."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=TIMEOUT)

    async def visit(self, url: str) -> httpx.Response:
        """Open a page; a redirect is not followed."""
        return await self._http.get(url)

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """One of its controls. StepFailed where it does not do that."""
        response = await self._http.request(method, f"/simulator/{path}", json=body)
        expect(response.is_success, f"inside Zoom, {path} answered {response.status_code}: {response.text[:200]}")
        return response.json()

    async def journal(self, since: int = 0) -> list[dict[str, Any]]:
        """Every request it got, from entry number `since` on."""
        entries: list[dict[str, Any]] = await self.control("GET", f"journal?since={since}")
        return entries

    async def deliveries(self, since: int = 0) -> list[dict[str, Any]]:
        """Every attempt to deliver a notification, and what was withheld."""
        attempts: list[dict[str, Any]] = await self.control("GET", "deliveries")
        return attempts[since:]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
