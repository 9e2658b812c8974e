"""The platform's receiver of hooks in a run. It keeps every repetition and can be made to fail."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import HTTPException

from app.devstack.webhook_receiver import WebhookReceiver, verify


@dataclass(frozen=True)
class HookArrival:
    """One attempt to send a message, and whether the response confirmed it."""

    message_id: str
    body: str
    kind: str
    event_id: str
    taken: bool


class FailingWebhookReceiver(WebhookReceiver):
    """Every message with a valid signature, in order of arrival.

    While it is `failing`, it answers 500, but to each message only once: other tests cover when a third attempt is
    made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[HookArrival] = []
        self.failing = False
        self._failed = set[str]()

    async def receive(self, headers: Mapping[str, str], body: bytes) -> None:
        """Keep one attempt. Raises BadSignature, and a failure that becomes a 500."""
        message = verify(self.secret, headers, body)
        message_id = headers["webhook-id"]
        fails = self.failing and message_id not in self._failed
        event_id = str(message["data"].get("event_id", ""))
        self.arrivals.append(HookArrival(message_id, body.decode(), message["type"], event_id, not fails))
        if fails:
            self._failed.add(message_id)
            raise HTTPException(500, "the platform is not well")
