"""Every call to a vendor: whoever may object to it is asked right before it is made, and whoever counts is told what it
was, how it ended and how long it took."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

# Vendor, operation, outcome (an HTTP status or a slug), seconds.
CallObserver = Callable[[str, str, str, float], None]
# Awaited right before a call is made that changes something; what it raises stops the call.
BeforeCall = Callable[[], Awaitable[None]]


def ignore_call(vendor: str, operation: str, outcome: str, seconds: float) -> None:
    """Tells nobody."""


async def allow_call() -> None:
    """Objects to nothing."""


def before_send_extensions(before_call: BeforeCall) -> dict[str, Any]:
    """The `extensions` of a request that have `before_call` awaited when the connection stands, and the first byte is about to
    leave (www.encode.io/httpcore/extensions/#trace)."""

    async def trace(event: str, _info: object) -> None:
        if event.endswith(".send_request_headers.started"):
            await before_call()

    return {"trace": trace}


def call_extensions(vendor: str, operation: str) -> dict[str, Any]:
    """The `extensions` of a request by which `InstrumentedHttpClient` knows what it is."""
    return {"call": (vendor, operation)}


class InstrumentedHttpClient(httpx.AsyncClient):
    """An HTTP client that tells of every request that is `call_extensions`, and asks before those that do more than read."""

    def __init__(self, on_call: CallObserver, before_call: BeforeCall = allow_call, **options: Any) -> None:
        super().__init__(**options)
        self._on_call, self._before_call = on_call, before_call

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request; what comes to nothing is told by the class of its error."""
        if "call" not in request.extensions:
            return await super().send(request, **options)
        vendor, operation = request.extensions["call"]
        if request.method != "GET":
            request.extensions |= before_send_extensions(self._before_call)
        with observe_call(self._on_call, vendor, operation, (httpx.HTTPError,)) as call:
            response = await super().send(request, **options)
            call.outcome = str(response.status_code)
        return response


@dataclass
class ObservedCall:
    """A call under way; `outcome` is what is told of it."""

    outcome: str = ""


@contextlib.contextmanager
def observe_call(
    on_call: CallObserver, vendor: str, operation: str, failures: tuple[type[Exception], ...]
) -> Iterator[ObservedCall]:
    """Tell of one call when it ends: its `outcome`, or the class of one of these failures.

    Anything else that is raised is not the vendor's doing, and is not told.
    """
    started_at, call = time.perf_counter(), ObservedCall()
    try:
        yield call
    except failures as error:
        call.outcome = type(error).__name__
        raise
    finally:
        if call.outcome:
            on_call(vendor, operation, call.outcome, time.perf_counter() - started_at)
