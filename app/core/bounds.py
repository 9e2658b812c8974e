"""How much a request may send before anybody has looked at it. Pure ASGI, as it is paid on every click."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BoundedBody:
    """Lets no request body past `largest` bytes: reading on ends in a 413, which the app answers like any other."""

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self._app, self._largest = app, largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Counts what arrives: a `Content-Length` may be absent."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = self._largest

        async def measured() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413)
            return message

        await self._app(scope, measured, send)
