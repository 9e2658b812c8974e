"""Everything that can be asked for: in the imperative, ids only. `jobs.py` says what follows from each."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class NotifyMissingHost:
    """Tell the host of an event, and the platform, that it began five minutes ago and nobody has started it."""

    event_id: UUID
    community_id: str


@dataclass(frozen=True)
class RetryRegistrant:
    """Register somebody at Zoom, and mail their invitation, if either is still missing: they answered the same again."""

    registration_id: UUID
    account_id: UUID | None
    community_id: str
