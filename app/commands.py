"""Everything that is asked for: imperative, ids only. `jobs.py` says which jobs carry each out.

`account_id` is the Zoom account whose limits the jobs share, or None where no account is meant yet. Something that
happened is no command but a fact (`facts.py`).
"""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class ReadAccount:
    """Read an account's profile, settings and hosts from Zoom again."""

    account_id: UUID


@dataclass(frozen=True)
class RevokeToken:
    """Revoke a token at Zoom that waits, encrypted, in a `revocations` row."""

    revocation_id: UUID


@dataclass(frozen=True)
class InterpretDelivery:
    """Interpret a stored delivery again: an operator replays it."""

    delivery_id: UUID
    source: str


@dataclass(frozen=True)
class SyncMeeting:
    """Compare an event with its Zoom meeting, because our copy may be stale. Nobody waits for it."""

    event_id: UUID
    account_id: UUID | None


@dataclass(frozen=True)
class SyncMeetingNow:
    """Make an event and its Zoom meeting equal, ahead of other syncs: an admin waits, or a known difference is left."""

    event_id: UUID
    account_id: UUID | None


@dataclass(frozen=True)
class DeleteMeeting:
    """Delete a retired meeting at Zoom, where the first attempt did not or a restored database forgot it."""

    meeting_id: UUID
    account_id: UUID


@dataclass(frozen=True)
class RemoveStray:
    """Remove a meeting of ours at Zoom, or a registrant of one, that nothing in the database asks for."""

    stray_id: UUID
    account_id: UUID


@dataclass(frozen=True)
class SyncRegistration:
    """Make a registration, its Zoom registrant and its invitation equal: something other than the RSVP changed."""

    registration_id: UUID
    account_id: UUID | None
    community_id: str


@dataclass(frozen=True)
class AddRegistrantBatch:
    """Add many registrants of a meeting that has none of them yet with few requests."""

    event_id: UUID
    account_id: UUID | None


@dataclass(frozen=True)
class SendInvite:
    """Mail the current invitation, or its withdrawal, if the member does not have it yet."""

    registration_id: UUID
    community_id: str


@dataclass(frozen=True)
class PlanReminders:
    """Plan an event's reminders anew: its community chose other ones."""

    event_id: UUID


@dataclass(frozen=True)
class SendReminder:
    """Mail a reminder of an event whose time has come."""

    registration_id: UUID
    community_id: str


@dataclass(frozen=True)
class SendGuestCode:
    """Mail a guest the code that confirms their address."""

    code_id: UUID


@dataclass(frozen=True)
class NotifyMissingHost:
    """Tell the host of an event, and the platform, that it began five minutes ago and nobody has started it."""

    event_id: UUID
    community_id: str


@dataclass(frozen=True)
class SendHookMessage:
    """Send a message to its endpoint, or end the job of one that was deleted."""

    message_id: UUID
    endpoint_id: UUID
    community_id: str
