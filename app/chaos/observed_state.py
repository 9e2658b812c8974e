"""The final state of a run as plain values: from the API, from Zoom, and from mails and hooks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class ObservedSession:
    """A stay of one participant, to the second."""

    joined: datetime
    left: datetime | None


@dataclass(frozen=True)
class Event:
    """An event as its admin sees it. `attendance` has the stays by member, once the event took place."""

    id: str
    title: str
    starts_at: datetime
    ends_at: datetime
    status: str
    meeting: str | None
    state: str | None
    differences: int = 0
    attendance: Mapping[str, tuple[ObservedSession, ...]] = field(default_factory=dict)

    @property
    def is_upcoming(self) -> bool:
        """Whether Zoom must have a meeting for it."""
        return self.status in {"scheduled", "live"}


@dataclass(frozen=True)
class Registration:
    """An RSVP as the event's admin sees it. Mails refer to it by `id`."""

    id: str
    event: str
    who: str
    email: str
    rsvp: str
    registrant: str | None
    reason: str | None = None


@dataclass(frozen=True)
class EndedInstance:
    """An ended instance of a Zoom meeting.

    It has the stays by the address of those who came by a personal link.
    """

    started: datetime
    ended: datetime
    sessions: Mapping[str, tuple[ObservedSession, ...]]


@dataclass(frozen=True)
class MeetingAtZoom:
    """A meeting as Zoom has it: who is approved, by address, and its instances."""

    number: str
    topic: str
    starts_at: datetime
    minutes: int
    approved: frozenset[str]
    ended_instances: tuple[EndedInstance, ...] = ()


@dataclass(frozen=True)
class InvitationMail:
    """A mail with an invitation. `uid` is the registration's id."""

    uid: str
    sequence: int
    method: str
    title: str
    starts_at: datetime
    tentative: bool


@dataclass(frozen=True)
class HookMessage:
    """A hook's message as the service stores it."""

    id: str
    kind: str
    subject: str
    body: str
    state: str


@dataclass(frozen=True)
class NotificationAttempt:
    """One attempt to deliver a notification of Zoom, and its result.

    `meeting` is its number, if it has one.
    """

    digest: str
    event: str
    meeting: str
    outcome: str


@dataclass(frozen=True)
class OutboxEntry:
    """A row of the outbox. `overdue` is how many seconds ago its lease expired."""

    id: int
    job: str
    key: str
    reason: str | None
    dead: bool
    overdue: float | None


@dataclass(frozen=True)
class ObservedState:
    """All of it."""

    events: Mapping[str, Event]
    registrations: tuple[Registration, ...]
    meetings: Mapping[str, MeetingAtZoom]
    journal: tuple[Mapping[str, Any], ...]
    notifications: tuple[NotificationAttempt, ...]
    interpreted: frozenset[str]
    mails: tuple[InvitationMail, ...]
    messages: tuple[HookMessage, ...]
    rows: tuple[OutboxEntry, ...]
    posts: Mapping[str, tuple[tuple[int, str], ...]]
