"""Faults a test can set: calls that fail or are slow; notifications lost, late, repeated or shuffled."""

import secrets
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.simulator.switches import RetryAfter

_random = secrets.SystemRandom()


class CallFault(BaseModel):
    """A fault of the next `times` calls of an operation, or of a share of them.

    `close_before` closes the connection before doing anything. `lose_answer` does everything and then closes it.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal[
        "status",
        "rate_per_second",
        "rate_per_day",
        "lose_answer",
        "close_before",
        "expired_token",
        "invalid_grant",
        "latency",
    ]
    operation: str = Field("*", description="operation id as the journal shows it; * is any")
    times: int | None = Field(1, ge=1, description="how many calls; null is every call")
    rate: float = Field(1.0, ge=0, le=1, description="share of the calls that are hit")
    status: int = Field(500, ge=400, le=599, description="HTTP status of kind `status`")
    body: dict[str, Any] | None = Field(None, description="JSON body of kind `status`; otherwise a gateway's HTML page")
    retry_after: RetryAfter | None = Field(None, description="form of Retry-After of a 429; default is the switch's")
    seconds: float = Field(0, ge=0, description="how long kind `latency` lasts at most; setting faults ends it")


class NotificationFault(BaseModel):
    """A fault of the next `times` notifications of some events."""

    model_config = ConfigDict(extra="forbid")

    events: list[str] = Field([], description="names of events; empty is any")
    times: int | None = Field(1, ge=1, description="how many notifications; null is every one")
    late_seconds: float = Field(0, ge=0, description="wait before the first attempt")
    copies: int = Field(1, ge=1, description="how often the same notification is delivered")
    lost: bool = Field(False, description="never sent")
    shuffled: bool = Field(False, description="held until POST /simulator/idle, then sent in random order")


class Faults(BaseModel):
    """All faults in force."""

    model_config = ConfigDict(extra="forbid")

    latency_seconds: float = Field(0, ge=0, description="added to every call")
    calls: list[CallFault] = []
    notifications: list[NotificationFault] = []

    def next_call_fault(self, operation: str) -> CallFault | None:
        """Return the fault of this call, and count it as used once."""
        for fault in self.calls:
            if fault.operation in ("*", operation) and fault.times != 0 and _random.random() < fault.rate:
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None

    def next_notification_fault(self, event: str) -> NotificationFault | None:
        """Return the fault of this notification, and count it as used once."""
        for fault in self.notifications:
            if (not fault.events or event in fault.events) and fault.times != 0:
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None
