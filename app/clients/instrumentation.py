"""Hooks around every call to a vendor: one runs before the call and may stop it, one measures it.

`BeforeCall` runs right before a call that changes something. `CallObserver` learns what the call was, how it ended and
how long it took.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

# Arguments: vendor, operation, outcome (an HTTP status or a slug), seconds.
CallObserver = Callable[[str, str, str, float], None]
# Awaited right before a call that changes something. An exception stops the call.
BeforeCall = Callable[[], Awaitable[None]]


def ignore_call(vendor: str, operation: str, outcome: str, seconds: float) -> None:
    """Do nothing; the default `CallObserver`."""


async def allow_call() -> None:
    """Let every call happen; the default `BeforeCall`."""


def before_send_extensions(before_call: BeforeCall) -> dict[str, Any]:
    """Return the request `extensions` that await `before_call` right before the first byte is sent.

    At that moment the connection is open, so connecting does not delay the call any more. Source:
    www.encode.io/httpcore/extensions/#trace.
    """

    async def trace(event: str, _info: object) -> None:
        if event.endswith(".send_request_headers.started"):
            await before_call()

    return {"trace": trace}


def call_extensions(vendor: str, operation: str) -> dict[str, Any]:
    """Return the request `extensions` that tell `InstrumentedHttpClient` which call a request makes."""
    return {"call": (vendor, operation)}


class InstrumentedHttpClient(httpx.AsyncClient):
    """An HTTP client that reports every request with `call_extensions` to `on_call`.

    It awaits `before_call` before each such request that is not a GET. Other requests pass through unobserved.
    """

    def __init__(self, on_call: CallObserver, before_call: BeforeCall = allow_call, **options: Any) -> None:
        super().__init__(**options)
        self._on_call = on_call
        self._before_call = before_call

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request; if it fails, the class of the error is the reported outcome."""
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
    """A call in progress; the caller sets `outcome`, and `observe_call` reports it."""

    outcome: str = ""


@contextlib.contextmanager
def observe_call(
    on_call: CallObserver, vendor: str, operation: str, failures: tuple[type[Exception], ...]
) -> Iterator[ObservedCall]:
    """Report one call to `on_call` when it ends, with its `outcome` or the class of a failure.

    Only exceptions of the classes `failures` count as the vendor's. The function does not report a call that ends with
    any other exception.
    """
    started_at = time.perf_counter()
    call = ObservedCall()
    try:
        yield call
    except failures as error:
        call.outcome = type(error).__name__
        raise
    finally:
        if call.outcome:
            on_call(vendor, operation, call.outcome, time.perf_counter() - started_at)
