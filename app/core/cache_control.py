"""Middleware that adds `Cache-Control: no-store` and `Vary` to every response.

So no cache stores a response for another caller. Pure ASGI, because it runs on every request.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# One of these headers identifies the caller, so a response cached for one caller is not valid for another (RFC 9110
# section 12.5.5).
VARY = "Cookie, Authorization"


class CacheControlMiddleware:
    """Adds `Cache-Control: no-store` and `Vary` to every response.

    A route that sets its own `Cache-Control` (RFC 9111) keeps it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.add_vary_header(VARY)
            await send(message)

        await self._app(scope, receive, send_with_headers)
