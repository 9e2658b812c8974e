"""Everything that can happen: past tense, ids only. `jobs.py` says what follows from each.

`account_id` is the Zoom account whose limits the jobs share, or None where none is meant yet.
"""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class _DeliveryFact:
    """A delivery says it. `source` is whose delivery it is: the account whose own secret signed it, or the Zoom account
    it names. What follows shares the queue of that source, and delays no other."""

    delivery_id: UUID
    source: str = ""


@dataclass(frozen=True)
class AccountConnected:
    """An admin connected a Zoom account, or connected it again."""

    account_id: UUID


@dataclass(frozen=True)
class AccountRefreshAsked:
    """An admin asked to read the account's hosts and settings again."""

    account_id: UUID


@dataclass(frozen=True)
class AccountDisconnected:
    """An account was disconnected here, or its user removed the app at Zoom."""

    account_id: UUID


@dataclass(frozen=True)
class AccountNeedsReauth:
    """Zoom no longer accepts the connection of an account."""

    account_id: UUID


@dataclass(frozen=True)
class HostsChanged:
    """A host of an account was licensed, deactivated, came back, or can do something else than before."""

    account_id: UUID


@dataclass(frozen=True)
class TokenRevocationQueued:
    """A token waits to be revoked at Zoom."""

    revocation_id: UUID


class DeliveryStored(_DeliveryFact):
    """Zoom delivered an authentic notification, and it is in the inbox."""


class AppDeauthorized(_DeliveryFact):
    """A user removed the app inside Zoom; the delivery says which."""


class MeetingCreationReported(_DeliveryFact):
    """Zoom said that a meeting was created."""


class MeetingStarted(_DeliveryFact):
    """Zoom said that an instance started."""


class MeetingEnded(_DeliveryFact):
    """Zoom said that an instance ended."""


class ParticipantJoined(_DeliveryFact):
    """Zoom said that somebody joined an instance."""


class ParticipantLeft(_DeliveryFact):
    """Zoom said that somebody left an instance."""


class ParticipantWaiting(_DeliveryFact):
    """Zoom said that somebody stands in the waiting room, or was sent back there."""


class MeetingChangeReported(_DeliveryFact):
    """Zoom said that a meeting was edited, deleted or brought back."""


@dataclass(frozen=True)
class MeetingMaybeStale:
    """Zoom may have the meeting of an event otherwise than we know."""

    event_id: UUID
    account_id: UUID


class RegistrantChangeReported(_DeliveryFact):
    """Zoom said that somebody registered, or that a registrant was approved, denied or cancelled."""


class UserChangeReported(_DeliveryFact):
    """Zoom said that a user of an account changed, or is gone."""


class RecordingChangeReported(_DeliveryFact):
    """Zoom said that recordings were made, transcribed, trashed, deleted or brought back."""


@dataclass(frozen=True)
class RecordingUnreported:
    """An instance that was to be recorded is over, and Zoom has told of no recording."""

    instance_id: UUID
    account_id: UUID


@dataclass(frozen=True)
class RecordingAvailable:
    """Zoom holds a recording of an instance, whether it told us or we asked, and held none before as far as we knew."""

    instance_id: UUID
    account_id: UUID


class StreamingChangeReported(_DeliveryFact):
    """Zoom said that a meeting began or ceased to be streamed."""


@dataclass(frozen=True)
class EventChanged:
    """An event was made, edited, moved, cancelled or deleted."""

    event_id: UUID
    account_id: UUID | None


@dataclass(frozen=True)
class EventWentLive:
    """An instance of an event's meeting is open, and none was before."""

    event_id: UUID


@dataclass(frozen=True)
class EventEnded:
    """The last instance of an event's meeting ended, and was no rehearsal."""

    event_id: UUID


@dataclass(frozen=True)
class LiveStateChanged:
    """Whether the meeting of an event runs, or who is in it, may be different from before."""

    event_id: UUID


@dataclass(frozen=True)
class AttendanceFinalized:
    """Zoom has said all it will of who came to an event that ended."""

    event_id: UUID


@dataclass(frozen=True)
class MeetingOutcomeUnknown:
    """An event should be over, and neither start nor end of its meeting is known."""

    event_id: UUID
    account_id: UUID


@dataclass(frozen=True)
class SyncAsked:
    """An admin asked to bring an event and Zoom together now."""

    event_id: UUID
    account_id: UUID | None


@dataclass(frozen=True)
class MeetingSynced:
    """The Zoom meeting of an event was made, replaced or taken away."""

    event_id: UUID
    account_id: UUID | None


@dataclass(frozen=True)
class MeetingRetired:
    """A Zoom meeting no longer serves its event."""

    meeting_id: UUID
    account_id: UUID


@dataclass(frozen=True)
class StrayFound:
    """Zoom has a meeting of ours, or a registrant at one, that nothing we know of wants."""

    stray_id: UUID
    account_id: UUID


@dataclass(frozen=True)
class RegistrationChanged:
    """A member answered, changed the answer, or the event around the answer changed."""

    registration_id: UUID
    account_id: UUID | None
    community_id: str


@dataclass(frozen=True)
class RegistrationEmailChanged:
    """A member answered under another e-mail address than they gave before."""

    registration_id: UUID


@dataclass(frozen=True)
class BatchRegistrationNeeded:
    """Many people are coming to an event whose meeting knows none of them yet."""

    event_id: UUID
    account_id: UUID | None


@dataclass(frozen=True)
class MemberWaitingToJoin:
    """A registered member stands at the door and has no link yet."""

    registration_id: UUID
    account_id: UUID | None


@dataclass(frozen=True)
class InviteAsked:
    """A member asked for the invite once more, or an event changed which their calendar may hold."""

    registration_id: UUID
    community_id: str


@dataclass(frozen=True)
class GuestCodeAsked:
    """A browser with a guest's link asked for the code that confirms the guest's address."""

    code_id: UUID


@dataclass(frozen=True)
class RemindersChanged:
    """A community chose other reminders, which are this event's, too."""

    event_id: UUID


@dataclass(frozen=True)
class ReminderDue:
    """The moment has come to remind somebody of an event."""

    registration_id: UUID
    community_id: str


@dataclass(frozen=True)
class HookMessageQueued:
    """There is a message for an endpoint, or an admin wants one sent again."""

    message_id: UUID
    endpoint_id: UUID
    community_id: str
