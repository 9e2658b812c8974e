"""The platform's end of the hooks, which keeps whatever comes, however often, and can be made to fail."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import HTTPException

from app.devstack.webhook_receiver import WebhookReceiver, verify


@dataclass(frozen=True)
class HookArrival:
    """One sending of a message that came, and whether it was told that it had."""

    message_id: str
    body: str
    kind: str
    event_id: str
    taken: bool


class FailingWebhookReceiver(WebhookReceiver):
    """Every message whose signature is proved, in the order they came. While it is `failing` a message is told 500, but
    each only once: how much later a third attempt comes is promised elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[HookArrival] = []
        self.failing = False
        self._failed = set[str]()

    async def receive(self, headers: Mapping[str, str], body: bytes) -> None:
        """Keep one sending. Raises BadSignature, and what becomes a 500."""
        message = verify(self.secret, headers, body)
        message_id = headers["webhook-id"]
        fails = self.failing and message_id not in self._failed
        event_id = str(message["data"].get("event_id", ""))
        self.arrivals.append(HookArrival(message_id, body.decode(), message["type"], event_id, not fails))
        if fails:
            self._failed.add(message_id)
            raise HTTPException(500, "the platform is not well")
