"""Every call to a vendor: whoever may object to it is asked right before it is made, and whoever counts is told what it
was, how it ended and how long it took."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

# Vendor, operation, outcome (an HTTP status or a slug), seconds.
Tell = Callable[[str, str, str, float], None]
# Awaited right before a call is made that changes something; what it raises stops the call.
Ask = Callable[[], Awaitable[None]]


def nobody(vendor: str, operation: str, outcome: str, seconds: float) -> None:
    """Tells nobody."""


async def unasked() -> None:
    """Objects to nothing."""


def asking(ask: Ask) -> dict[str, Any]:
    """The `extensions` of a request that have `ask` awaited when the connection stands, and the first byte is about to
    leave (www.encode.io/httpcore/extensions/#trace)."""

    async def trace(event: str, _info: object) -> None:
        if event.endswith(".send_request_headers.started"):
            await ask()

    return {"trace": trace}


def named(vendor: str, operation: str) -> dict[str, Any]:
    """The `extensions` of a request by which `Http` knows what it is."""
    return {"call": (vendor, operation)}


class Http(httpx.AsyncClient):
    """An HTTP client that tells of every request that is `named`, and asks before those that do more than read."""

    def __init__(self, tell: Tell, ask: Ask = unasked, **options: Any) -> None:
        super().__init__(**options)
        self._tell, self._ask = tell, ask

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request; what comes to nothing is told by the class of its error."""
        if "call" not in request.extensions:
            return await super().send(request, **options)
        vendor, operation = request.extensions["call"]
        if request.method != "GET":
            request.extensions |= asking(self._ask)
        with told(self._tell, vendor, operation, (httpx.HTTPError,)) as call:
            response = await super().send(request, **options)
            call.outcome = str(response.status_code)
        return response


@dataclass
class Call:
    """A call under way; `outcome` is what is told of it."""

    outcome: str = ""


@contextlib.contextmanager
def told(tell: Tell, vendor: str, operation: str, failures: tuple[type[Exception], ...]) -> Iterator[Call]:
    """Tell of one call when it ends: its `outcome`, or the class of one of these failures.

    Anything else that is raised is not the vendor's doing, and is not told.
    """
    began, call = time.perf_counter(), Call()
    try:
        yield call
    except failures as error:
        call.outcome = type(error).__name__
        raise
    finally:
        if call.outcome:
            tell(vendor, operation, call.outcome, time.perf_counter() - began)
