"""No answer is kept for anybody else. Pure ASGI, as it is paid on every click."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Who asks is told by one of these, so an answer kept for one is none for another (RFC 9110 section 12.5.5).
VARY = "Cookie, Authorization"


class CacheControlMiddleware:
    """Says of each answer that nobody is to keep it, unless the route has said how it may be kept (RFC 9111), and that
    it depends on who asked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
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
