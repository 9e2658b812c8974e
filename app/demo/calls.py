"""Calls over HTTP as the SPA, a browser and Zoom make them, and what must hold of their answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import httpx

from app.demo.cast import Signature

T = TypeVar("T")
Headers = Mapping[str, str]
PATIENCE = 60.0  # seconds for whatever happens by itself
LOOK_EVERY = 0.05


class StepFailed(Exception):
    """A step did not show what the plan promises; the text says what came instead."""


def expect(holds: bool, what: str) -> None:
    """Raises StepFailed unless what was expected holds."""
    if not holds:
        raise StepFailed(what)


async def until(what: str, probe: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE) -> T:
    """The first true thing `probe` finds, asked again and again; StepFailed names what was awaited in vain."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (found := await probe()):
        if loop.time() > deadline:
            raise StepFailed(f"waited {seconds:.0f} s in vain until {what}")
        await asyncio.sleep(LOOK_EVERY)
    return found


@dataclass(frozen=True)
class Answer:
    """What the API answered somebody; `location` stands apart, for it alone may hold a Zoom link."""

    who: str | None
    method: str
    path: str
    status: int
    headers: dict[str, str]
    location: str | None
    body: str


class Api:
    """The service as its callers see it. Every answer is kept."""

    def __init__(self, url: str, signature: Signature) -> None:
        self.url = url
        self.answers: list[Answer] = []
        self._signature = signature
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE)

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
        signed = {"Authorization": f"Bearer {self._signature.token(who)}"} if who else {}
        answer = await self._http.request(method, path, json=body, headers={**signed, **(headers or {})})
        self._keep(who, answer)
        if answer.status_code != status:
            request = f"{method} {answer.request.url.path}"
            raise StepFailed(f"{request} answered {answer.status_code} instead of {status}: {_told(answer)}")
        return answer

    @contextlib.asynccontextmanager
    async def stream(self, who: str, path: str) -> AsyncIterator[httpx.Response]:
        """A GET whose answer goes on for as long as it is wanted. StepFailed where it is refused."""
        signed = {"Authorization": f"Bearer {self._signature.token(who)}"}
        async with self._http.stream("GET", path, headers=signed, timeout=None) as answer:
            expect(answer.status_code == 200, f"GET {path} answered {answer.status_code}")
            yield answer

    async def get(self, who: str | None, path: str) -> Any:
        """The JSON a GET answers."""
        return (await self.call(who, "GET", path)).json()

    def report(self) -> list[dict[str, Any]]:
        """Every answer so far, as JSON."""
        return [asdict(answer) for answer in self.answers]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _keep(self, who: str | None, answer: httpx.Response) -> None:
        headers = {name: value for name, value in answer.headers.items() if name != "location"}
        asked = answer.request
        location = answer.headers.get("location")
        self.answers.append(
            Answer(who, asked.method, asked.url.path, answer.status_code, headers, location, answer.text)
        )


def _told(answer: httpx.Response) -> str:
    if "json" not in answer.headers.get("content-type", ""):
        return answer.text[:200]
    told = answer.json()
    return f"{told.get('type', '').rpartition('/')[2]}: {told.get('detail', '')}" if isinstance(told, dict) else ""


class Zoom:
    """The simulated Zoom: its pages as a browser sees them, what people do inside it, and what it wrote down."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE)

    async def visit(self, url: str) -> httpx.Response:
        """Open a page; a redirect is not followed."""
        return await self._http.get(url)

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """One of its controls. StepFailed where it does not do that."""
        answer = await self._http.request(method, f"/simulator/{path}", json=body)
        expect(answer.is_success, f"inside Zoom, {path} answered {answer.status_code}: {answer.text[:200]}")
        return answer.json()

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
