"""Sends one request and returns the response, or raises what is known about the failure.

The module retries nothing.
"""

from collections.abc import Mapping

import httpx

from app.clients import instrumentation
from app.clients.zoom.errors import NoAnswer, NotSent, OutcomeUnknown, ZoomError
from app.clients.zoom.protocol import Request

# Seconds. A person may be waiting for the call, so it must end before that person gives up.
TIMEOUT = httpx.Timeout(15.0, connect=5.0, pool=5.0)

# httpx raises these before it has sent a byte of the request.
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
    """Send `request` and return status, headers and body of any response. Follows no redirect.

    Raises NotSent. If the connection was lost after sending, raises NoAnswer if `idempotent`, else OutcomeUnknown.
    """
    http_request = http.build_request(
        request.method,
        request.url,
        headers=request.headers,
        content=request.content,
        timeout=TIMEOUT,
        extensions=instrumentation.call_extensions("zoom", operation),
    )
    # One HTTP client serves all accounts: a cookie that Zoom set for one must not go out with another's call.
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
    # Raised outside the handlers, so that httpx's error, whose request contains the token, is not chained.
    raise failure
