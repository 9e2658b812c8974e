"""HTTP routes for Zoom's webhooks: verify the signature, store the delivery, answer at once.

A job interprets the delivery later. Transport, retries and signature: developers.zoom.us/docs/api/webhooks/. Zoom waits
3 seconds. It repeats a delivery 5, 20 and 60 minutes later after a 5xx or no answer, and never after a 4xx.
"""

import asyncio
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from app import web
from app.clients.zoom import notifications
from app.clients.zoom.notifications import Notification
from app.core import logs, metrics
from app.core.asyncpg_pool import DATABASE_ERRORS
from app.core.database_errors import RETRY_AFTER
from app.core.errors import Problem
from app.inbox import receive, token_bucket
from app.web import ResourcesDep

MAX_BODY_BYTES = 1024 * 1024  # bytes
# Zoom does not document whether it signs a repetition anew, and the last one comes 85 minutes after the first attempt.
# A longer window does no harm: a delivery is stored once, however often somebody replays it.
MAX_SIGNATURE_AGE = timedelta(hours=2)
STORE_TIMEOUT = 2.5  # seconds, of the 3 that Zoom waits
CHALLENGE = "endpoint.url_validation"

_TOKEN_BUCKETS = token_bucket.TokenBuckets()
router = APIRouter(tags=["Zoom"])
log = logs.get("inbox")

_WEBHOOK_REQUEST: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "example": example}
        for name, example in (("x-zm-request-timestamp", "1784327121"), ("x-zm-signature", "v0=3f1c..."))
    ],
    "requestBody": {
        "required": True,
        "description": "A notification, at most 1 MiB, signed over its raw bytes.",
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["event"], "properties": {"event": {"type": "string"}}},
                "example": {
                    "event": "meeting.started",
                    "event_ts": 1784327121469,
                    "payload": {
                        "account_id": "AAAAAABBBB",
                        "object": {"id": "81234567890", "uuid": "k1Jm2n3oR5uXyZ0aBcDeFg==", "host_id": "uLoRgfbbTay"},
                    },
                },
            }
        },
    },
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer to a signed URL challenge: `plainToken` and `encryptedToken`"},
    204: {"description": "Stored, or known already"},
    400: {"description": "Signed, but not a notification"},
    401: {"description": "Not signed by Zoom, or too long ago; nothing was stored"},
    413: {"description": "Larger than 1 MiB"},
    503: {"description": "It could not be stored, or the account said too much at once; Zoom sends it again"},
}


@router.post(
    "/api/integrations/zoom/webhooks",
    summary="Take a notification signed with the app's secret",
    status_code=204,
    responses=_RESPONSES,
    openapi_extra=_WEBHOOK_REQUEST,
)
async def receive_notification(request: Request) -> Response:
    """For Zoom. Also answers its URL challenge, and learns that the app was removed (`app_deauthorized`)."""
    resources = await web.get_resources(request)  # a dependency costs more than verifying the signature
    return await _receive(request, resources, receive.app_identity(resources))


@router.post(
    "/api/integrations/zoom/webhooks/{account_id}",
    summary="Take a notification signed with an account's own secret",
    status_code=204,
    responses=_RESPONSES,
    openapi_extra=_WEBHOOK_REQUEST,
)
async def receive_account_notification(
    account_id: Annotated[str, Path(description="A connected account's id, the UUID the card shows")],
    request: Request,
    resources: ResourcesDep,
) -> Response:
    """For Zoom, if an account sends through an app of its own. Valid for that account only."""
    try:
        async with asyncio.timeout(STORE_TIMEOUT):
            identity = await receive.account_identity(resources, account_id)
    except DATABASE_ERRORS as error:
        raise _storage_failure(error) from None
    return await _receive(request, resources, identity)


async def _receive(request: Request, resources: ResourcesDep, identity: receive.SigningIdentity) -> Response:
    body = await _read_body(request)
    secret = _verify(request, resources, identity, body)
    try:
        notification = notifications.parse(body)
        if notification.event == CHALLENGE:
            challenge = notifications.challenge_response(secret, notification.payload.get("plainToken"))
            metrics.delivery_received("challenge")
            return JSONResponse(challenge)
    except notifications.MalformedNotification as error:
        raise _refusal("malformed", "bad-request", f"This is not a notification: {error}.") from None
    if not identity.covers(notification):
        raise _refusal("foreign", "unauthentic", "This secret does not speak for that Zoom account.")
    if identity.account_id is not None and not _TOKEN_BUCKETS.allows(identity.account_id):
        retry = {"Retry-After": str(token_bucket.RETRY_AFTER)}
        raise _refusal("too-many", "not-available", "This account says too much at once. Send it again.", retry)
    metrics.delivery_received(await _store(resources, identity, notification, body))
    return Response(status_code=204)


async def _read_body(request: Request) -> bytes:
    """Return the raw body, without reading more of it than is allowed."""
    content_type = request.headers.get("content-type", "json")
    if "json" not in content_type.lower():
        raise _refusal("malformed", "bad-request", "Content-Type: a notification is application/json.")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _refusal("too-large", "too-large", "A notification has at most 1 MiB.")
    except ClientDisconnect:
        raise _refusal("truncated", "bad-request", "The notification was cut short.") from None
    return bytes(body)


def _verify(request: Request, resources: ResourcesDep, identity: receive.SigningIdentity, body: bytes) -> str:
    """Return the secret that signed the body. Raises a Problem if none did."""
    timestamp, signature = (request.headers.get(name) for name in ("x-zm-request-timestamp", "x-zm-signature"))
    try:
        return notifications.verify(
            identity.secrets, timestamp, signature, body, resources.clock.now(), MAX_SIGNATURE_AGE
        )
    except notifications.Stale:
        raise _refusal("stale", "unauthentic", "This notification was signed too long ago, or in the future.") from None
    except notifications.BadSignature:
        raise _refusal("forged", "unauthentic", "The signature is missing or fits none of the secrets.") from None


async def _store(
    resources: ResourcesDep, identity: receive.SigningIdentity, notification: Notification, body: bytes
) -> str:
    try:
        async with asyncio.timeout(STORE_TIMEOUT):
            return "stored" if await receive.store(resources, identity, notification, body) else "known"
    except DATABASE_ERRORS as error:
        raise _storage_failure(error) from None


def _refusal(outcome: str, slug: str, detail: str, headers: dict[str, str] | None = None) -> Problem:
    metrics.delivery_received(outcome)
    log.info("delivery refused", outcome=outcome)
    return Problem(slug, detail, headers=headers)


def _storage_failure(error: Exception) -> Problem:
    metrics.delivery_received("not-stored")
    log.error("delivery not stored", reason=type(error).__name__)
    retry = {"Retry-After": str(RETRY_AFTER)}
    return Problem("not-available", "The notification could not be stored. Send it again.", headers=retry)
