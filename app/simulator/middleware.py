"""The connection level: records every request, keeps paths undecoded, and breaks connections."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.simulator.errors import RefusalError, ZoomResponse
from app.simulator.journal import JournalEntry, redacted_body, redacted_query
from app.simulator.limits import Label
from app.simulator.signing import tracking_id
from app.simulator.simulator import Simulator


class AbortableProtocol(HttpToolsProtocol):
    """uvicorn's protocol, extended so that a request can break its own connection."""

    def connection_made(self, transport: Any) -> None:
        """Offer a way to close the connection to its requests, as `scope["state"]["hang_up"]`."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "hang_up": transport.abort}


class JournalMiddleware:
    """ASGI middleware that keeps the journal and routes the API by the undecoded path.

    Zoom's gateway decodes a path once, and a meeting UUID may contain `%2F` (contract 3). So operations need the
    segments as they were sent.
    """

    def __init__(self, app: ASGIApp, simulator: Simulator) -> None:
        self.app = app
        self.simulator = simulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith("/simulator"):
            await self.app(scope, receive, send)
            return
        body = await _read_body(receive)
        request = Request(scope)
        entry = JournalEntry(
            self.simulator.now().isoformat(timespec="milliseconds"),
            request.method,
            scope["path"],
            redacted_query(request.url.query),
            redacted_body(body, request.headers.get("content-type", "")),
        )
        self.simulator.journal.append(entry)
        request.state.entry = entry
        if scope["path"].startswith("/v2/"):
            scope["path"] = scope["raw_path"].decode("ascii").partition("?")[0]
        unread = [body]

        async def replay_body() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start" and entry.fault not in ("close_before", "lose_answer"):
                entry.status = message["status"]
            await send(message)

        await self.app(scope, replay_body, send_and_record)


async def respond(
    request: Request,
    simulator: Simulator,
    operation: str,
    handler: Callable[[], Awaitable[ZoomResponse]],
    label: Label = "Light",
) -> Response:
    """Run an operation under the faults in force. `label` is its rate label."""
    entry: JournalEntry = request.state.entry
    entry.operation = operation
    fault = simulator.faults.next_call_fault(operation)
    entry.fault = fault.kind if fault else None
    await simulator.wait_latency(fault)
    if fault is not None and fault.kind == "close_before":
        return await _abort(request)
    if fault is not None and fault.kind == "status" and fault.body is None:
        return HTMLResponse(f"<html><body><h1>{fault.status}</h1></body></html>", fault.status)
    try:
        if fault is not None:
            simulator.raise_fault(fault, label)
        result = await handler()
    except RefusalError as error:
        result = error.response
    if fault is not None and fault.kind == "lose_answer":
        return await _abort(request)
    return json_response(result)


def json_response(result: ZoomResponse) -> Response:
    """Return an operation's result as a response. Without a body, not even `null` is sent."""
    headers = {"x-zm-trackingid": tracking_id(), **result.headers}
    if result.body is None:
        return Response(status_code=result.status, headers=headers)
    return JSONResponse(result.body, result.status, headers)


async def _abort(request: Request) -> Response:
    hang_up = getattr(request.state, "hang_up", None)
    if hang_up is None:
        # In process there is no connection to close. The caller sees the error that httpx raises for a closed one.
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
    hang_up()
    await request.receive()
    return Response()


async def _read_body(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body
