"""What join routes share: a route class without caching, prefetch detection, HEAD, and when joining opens."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from app.core.errors import Problem
from app.joining import responses
from app.resources import Resources

_PREFETCH_HEADERS = ("sec-purpose", "purpose", "x-purpose", "x-moz")


class NoStoreRoute(APIRoute):
    """A route whose responses no cache stores, and whose problems are shown to people as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's own handler."""
        handle = super().get_route_handler()

        async def no_store_handler(request: Request) -> Response:
            try:
                response = await handle(request)
            except Problem as problem:
                response = responses.problem_response(request, request.app.state.resources.settings, problem)
            for name, value in responses.PRIVATE_HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return no_store_handler


def is_prefetch(request: Request) -> bool:
    """Return whether the browser only prefetches the URL.

    Source: developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Purpose.
    """
    return any(request.headers.get(name, "").lower().startswith(("prefetch", "preview")) for name in _PREFETCH_HEADERS)


def join_opens_before(resources: Resources) -> timedelta:
    """Return how long before the event's start joining opens."""
    return timedelta(minutes=resources.settings.join_opens_minutes)


async def head_ok() -> Response:
    """Answer HEAD with 204. Mail scanners and link previews send it, and it must not use a ticket up."""
    return Response(status_code=204)
