"""Everything that happens and is true: past tense, ids only. `jobs.py` says which jobs follow from each.

`account_id` is the Zoom account whose limits the jobs share, or None where no account is meant yet. Something that is
asked for is no fact but a command (`commands.py`).
"""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class _DeliveryFact:
    """What a delivery of Zoom reports.

    `source` says whose delivery it is: the account whose own secret signed it, or the Zoom account that it names. The
    jobs share the queue of that source, so that one source delays no other. Replaying a delivery reports it again.
    """

    delivery_id: UUID
    source: str = ""


@dataclass(frozen=True)
class AccountConnected:
    """An admin connected a Zoom account, or connected it again."""

    account_id: UUID


@dataclass(frozen=True)
class AccountDisconnected:
    """An account was disconnected here, or its user removed the app at Zoom."""

    account_id: UUID


@dataclass(frozen=True)
class AccountNeedsReauth:
    """Zoom no longer accepts the grant of an account."""

    account_id: UUID


@dataclass(frozen=True)
class HostsChanged:
    """A host of an account was licensed, deactivated or came back, or the host's abilities changed."""

    account_id: UUID


class DeliveryStored(_DeliveryFact):
    """An authentic notification of Zoom was stored in the inbox."""


class AppDeauthorized(_DeliveryFact):
    """Zoom reported that a user removed the app; the delivery names the user."""


class MeetingCreationReported(_DeliveryFact):
    """Zoom reported that a meeting was created."""


class MeetingStarted(_DeliveryFact):
    """Zoom reported that an instance started."""


class MeetingEnded(_DeliveryFact):
    """Zoom reported that an instance ended."""


class ParticipantJoined(_DeliveryFact):
    """Zoom reported that a participant joined an instance."""


class ParticipantLeft(_DeliveryFact):
    """Zoom reported that a participant left an instance."""


class ParticipantWaiting(_DeliveryFact):
    """Zoom reported that a participant is in the waiting room, or was sent back there."""


class MeetingChangeReported(_DeliveryFact):
    """Zoom reported that a meeting was edited, deleted or restored."""


class RegistrantChangeReported(_DeliveryFact):
    """Zoom reported that a registrant was created, approved, denied or cancelled."""


class UserChangeReported(_DeliveryFact):
    """Zoom reported that a user of an account changed, or is gone."""


class RecordingChangeReported(_DeliveryFact):
    """Zoom reported that recordings were made, transcribed, trashed, deleted or restored."""


class StreamingChangeReported(_DeliveryFact):
    """Zoom reported that the livestream of a meeting started or stopped."""


@dataclass(frozen=True)
class RecordingUnreported:
    """An instance that was to be recorded is over, and Zoom reported no recording in time."""

    instance_id: UUID
    account_id: UUID


@dataclass(frozen=True)
class RecordingAvailable:
    """Zoom has a recording of an instance and had none before, as far as we knew."""

    instance_id: UUID
    account_id: UUID


@dataclass(frozen=True)
class EventChanged:
    """An event, or a setting that it inherits from its space, was created, edited, moved, cancelled or deleted."""

    event_id: UUID
    account_id: UUID | None


@dataclass(frozen=True)
class EventWentLive:
    """An instance of an event's meeting is open, and none was before."""

    event_id: UUID


@dataclass(frozen=True)
class EventEnded:
    """The last open instance of an event's meeting ended, and it was no rehearsal."""

    event_id: UUID


@dataclass(frozen=True)
class LiveStateChanged:
    """An instance of an event's meeting, or a session of a participant in it, was recorded, changed or removed."""

    event_id: UUID


@dataclass(frozen=True)
class AttendanceFinalized:
    """The attendance of an ended event is complete: Zoom has nothing more to report."""

    event_id: UUID


@dataclass(frozen=True)
class MeetingOutcomeUnknown:
    """An event should be over, and neither a start nor an end of its meeting is known."""

    event_id: UUID
    account_id: UUID


@dataclass(frozen=True)
class MeetingSynced:
    """The Zoom meeting of an event was created, adopted, replaced or taken away."""

    event_id: UUID
    account_id: UUID | None


@dataclass(frozen=True)
class MeetingRetired:
    """A Zoom meeting no longer serves its event."""

    meeting_id: UUID
    account_id: UUID


@dataclass(frozen=True)
class RegistrationChanged:
    """A member's RSVP, or their place on the waiting list, changed."""

    registration_id: UUID
    account_id: UUID | None
    community_id: str


@dataclass(frozen=True)
class RegistrationEmailChanged:
    """A member registered under another e-mail address than before."""

    registration_id: UUID


@dataclass(frozen=True)
class MemberWaitingToJoin:
    """A registered member clicked on Join and waits, as their personal link is not ready."""

    registration_id: UUID
    account_id: UUID | None
