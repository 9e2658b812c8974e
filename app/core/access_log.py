"""Middleware: gives each request a correlation id, logs and counts it, and logs unexpected errors.

Pure ASGI, because it runs on every request.
"""

import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core import logs, metrics

UNMATCHED = "unmatched"
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that closed the connection
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_log = logs.get("http")


class AccessLogMiddleware:
    """The outermost layer of the API: it also sees responses to unexpected errors, and logs those errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI request.

        `X-Request-Id` is used if it is 8 to 64 of `A-Za-z0-9_-`, else a new one is made. It is sent back.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(send, _incoming_request_id(scope) or logs.new_correlation())
        started = time.perf_counter()
        with logs.correlation_context(response.correlation):
            try:
                await self._app(scope, receive, response.send)
            except Exception:
                _log.exception("request failed", method=_method(scope), route=route_of(scope))
                response.status = response.status or 500
                # If the response is finished, the server could only log the error again.
                if not response.finished:
                    raise
            finally:
                seconds = time.perf_counter() - started
                method = _method(scope)
                route = route_of(scope)
                status = response.status or CLIENT_CLOSED_REQUEST
                metrics.request_answered(method, route, status, seconds)
                _log.info("request", method=method, route=route, status=status, ms=round(seconds * 1000, 2))


class _Response:
    """Passes a response on with the correlation id in its headers, and records how far it got."""

    def __init__(self, send: Send, correlation: str) -> None:
        self._send = send
        self.correlation = correlation
        self.status = 0
        self.finished = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.correlation.encode())]
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self.finished = True
        await self._send(message)


def route_of(scope: Scope) -> str:
    """Return the template of the matched route, never the path, because paths contain tickets."""
    # FastAPI keeps the template with the prefixes of included routers here. `route.path` is only its last part.
    included = scope.get("fastapi", {}).get("effective_route_context")
    template: str = getattr(included or scope.get("route"), "path", UNMATCHED)
    return template


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    # A client can invent methods, and a label must have few values.
    return method if method in _METHODS else "OTHER"


def _incoming_request_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value.decode() if _REQUEST_ID.fullmatch(value) else None
    return None
