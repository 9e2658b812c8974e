"""The platform's receiver of hooks: verifies signatures, keeps the messages, and can wait for one.

It verifies signatures by the Standard Webhooks specification alone.
"""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any

import orjson

TOLERANCE = 300.0  # seconds that the sender's clock may differ from ours


class BadSignature(Exception):
    """The message was not signed with our secret, or its timestamp is too far from now."""


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Verify the signature of a message and return its content. Raises BadSignature.

    standardwebhooks.com, "Verifying webhook authenticity".
    """
    try:
        message_id = headers["webhook-id"]
        timestamp = headers["webhook-timestamp"]
        signatures = [text.partition(",") for text in headers["webhook-signature"].split()]
        is_recent = abs(time.time() - int(timestamp)) <= TOLERANCE
    except (KeyError, ValueError):
        raise BadSignature("the headers are not those of a signed message") from None
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    expected = base64.b64encode(hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256))
    is_authentic = any(
        version == "v1" and hmac.compare_digest(signature.encode(), expected) for version, _, signature in signatures
    )
    if not (is_recent and is_authentic):
        raise BadSignature("the signature is not ours, or too old")
    message: dict[str, Any] = orjson.loads(body)
    return message


class WebhookReceiver:
    """The verified messages in order of arrival.

    `secret` is the signing secret that the service showed once.
    """

    def __init__(self) -> None:
        self.secret = ""
        self._messages: dict[str, dict[str, Any]] = {}
        self._arrived = asyncio.Condition()

    async def receive(self, headers: Mapping[str, str], body: bytes) -> None:
        """Verify and store one message. A repetition, recognized by its id, changes nothing.

        Raises BadSignature.
        """
        message = verify(self.secret, headers, body)
        async with self._arrived:
            self._messages.setdefault(headers["webhook-id"], message)
            self._arrived.notify_all()

    async def wait_for(self, kind: str, event_id: str, seconds: float) -> dict[str, Any]:
        """Wait for the first message of a kind about an event, and return it. Raises TimeoutError."""
        async with asyncio.timeout(seconds), self._arrived:
            while not (found := self._matching(kind, event_id)):
                await self._arrived.wait()
        return found[0]

    def _matching(self, kind: str, event_id: str) -> list[dict[str, Any]]:
        messages = self._messages.values()
        return [
            message for message in messages if message["type"] == kind and message["data"].get("event_id") == event_id
        ]
