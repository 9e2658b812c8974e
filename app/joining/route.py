"""What every route of the door has in common."""

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
    """A route whose answers, refusals too, nobody keeps, and people can read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, inside."""
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
    """Whether a browser only looks ahead (developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Purpose)."""
    return any(request.headers.get(name, "").lower().startswith(("prefetch", "preview")) for name in _PREFETCH_HEADERS)


def join_opens_before(resources: Resources) -> timedelta:
    """How long before the start the door opens."""
    return timedelta(minutes=resources.settings.join_opens_minutes)


async def head_ok() -> Response:
    """HEAD: mail scanners and link previews look, and use nothing up."""
    return Response(status_code=204)
