"""One request, one answer, and the plain truth about what happened when there is none. Retries nothing."""

from collections.abc import Mapping

import httpx

from app.clients import instrumentation
from app.clients.zoom.errors import NoAnswer, NotSent, OutcomeUnknown, ZoomError
from app.clients.zoom.protocol import Request

# Seconds. A call that a person waits for must end while the person still does.
TIMEOUT = httpx.Timeout(15.0, connect=5.0, pool=5.0)

# Raised before a byte of the request has left.
_NOT_SENT_ERRORS = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


async def send(
    http: httpx.AsyncClient, request: Request, auth: httpx.Auth, *, operation: str, idempotent: bool
) -> tuple[int, Mapping[str, str], bytes]:
    """Send `request`; returns status, headers and body of whatever answer comes. Follows no redirect.

    Raises NotSent, or when the connection was lost after sending: NoAnswer if `idempotent`, else OutcomeUnknown.
    """
    http_request = http.build_request(
        request.method,
        request.url,
        headers=request.headers,
        content=request.content,
        timeout=TIMEOUT,
        extensions=instrumentation.call_extensions("zoom", operation),
    )
    # One connection pool serves all accounts: a cookie Zoom set for one must not travel with another's call.
    http_request.headers.pop("Cookie", None)
    try:
        response = await http.send(http_request, auth=auth, follow_redirects=False)
    except _NOT_SENT_ERRORS as error:
        failure: ZoomError = NotSent(type(error).__name__, operation=operation)
    except httpx.HTTPError as error:
        no_response = (NoAnswer if idempotent else OutcomeUnknown)(type(error).__name__, operation=operation)
        no_response.timed_out = isinstance(error, httpx.TimeoutException)
        failure = no_response
    else:
        return response.status_code, response.headers, response.content
    # Outside the handlers: httpx's errors hold the request, and that the token.
    raise failure
