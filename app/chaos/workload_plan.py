"""The planned workload: what a community does during a run, derived from a seed alone. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

ADMIN = "admin"
MEMBERS = 30  # of the community
HOSTS = 12  # of its Zoom account
MEMBERS_OF_AN_EVENT = 6  # who RSVP
MAX_RSVPS = 4  # of one member to one event; more would meet Zoom's daily limits, and ours on mails
CANCELLED_SHARE = 0.2  # of the planned events
STATUSES = ("going", "going", "going", "maybe", "not_going")


@dataclass(frozen=True)
class PlannedRsvp:
    """An RSVP of a member, or of an admin on their behalf, `at` seconds after the event was created."""

    at: float
    status: str
    by_admin: bool


@dataclass(frozen=True)
class PlannedChange:
    """A change of an event by an admin.

    It is a new title and a start this many minutes later than first planned, or a new title alone, or the cancellation.
    """

    at: float
    title: str
    minutes: int | None = None
    cancels: bool = False


@dataclass(frozen=True)
class PlannedSession:
    """A member clicks on Join and is inside from and to this many seconds after the meeting started."""

    who: str
    joins: float
    leaves: float


@dataclass(frozen=True)
class PlannedMessage:
    """A chat message of a member."""

    at: float
    who: str
    text: str


@dataclass(frozen=True)
class PlannedMeeting:
    """How an event takes place.

    It begins `lead` seconds after it was created, and is started some seconds later.
    """

    lead: float
    starts_after: float
    sessions: tuple[PlannedSession, ...]
    messages: tuple[PlannedMessage, ...]
    ends: float


@dataclass(frozen=True)
class PlannedEvent:
    """One event: created `at` seconds after the beginning, with the host of that number.

    It begins in `day` days, or takes place at once.
    """

    number: int
    at: float
    title: str
    host: int
    day: int
    rsvps: Mapping[str, tuple[PlannedRsvp, ...]]
    changes: tuple[PlannedChange, ...]
    meeting: PlannedMeeting | None = None


def plan_workload(seed: int, seconds: float) -> list[PlannedEvent]:
    """Return the events of a run in the order of creation, the last well before `seconds`."""
    dice = Random(f"happenings {seed}")  # noqa: S311 - the same seed must give the same plan
    planned = max(3, int(seconds / 15))
    live_count = max(2, int(seconds / 40))
    last = max(1.0, seconds - 20)
    creation_times = sorted(
        [(round(dice.uniform(0, last), 1), False) for _ in range(planned)]
        + [(round(dice.uniform(0, last / 2 if seconds < 90 else last), 1), True) for _ in range(live_count)]
    )
    return [_plan_event(dice, number, at, is_live=is_live) for number, (at, is_live) in enumerate(creation_times)]


def _plan_event(dice: Random, number: int, at: float, *, is_live: bool) -> PlannedEvent:
    people = [f"m{one}" for one in sorted(dice.sample(range(MEMBERS), MEMBERS_OF_AN_EVENT))]
    within = 8.0 if is_live else 30.0
    rsvps = {who: _plan_rsvps(dice, within) for who in people}
    title = f"Event {number}"
    if is_live:
        meeting = _plan_meeting(dice, number, people)
        changes = (PlannedChange(round(dice.uniform(1, 6), 1), f"{title}, held"),) if dice.random() < 0.5 else ()
        return PlannedEvent(number, at, title, number % HOSTS, 0, rsvps, changes, meeting)
    return PlannedEvent(number, at, title, number % HOSTS, 1 + number // HOSTS, rsvps, _plan_changes(dice, title))


def _plan_rsvps(dice: Random, within: float) -> tuple[PlannedRsvp, ...]:
    count = dice.randint(1, MAX_RSVPS)
    moments = sorted(round(dice.uniform(0.2, within), 1) for _ in range(count))
    return tuple(PlannedRsvp(at, dice.choice(STATUSES), dice.random() < 0.15) for at in moments)


def _plan_changes(dice: Random, title: str) -> tuple[PlannedChange, ...]:
    moments = sorted(round(dice.uniform(0.5, 25), 1) for _ in range(dice.randint(0, 4)))
    # Go back to the first title now and then, because a change that is undone must be undone at Zoom, too.
    names = [title if dice.random() < 0.3 else f"{title}, {at:g}" for at in moments]
    found = [PlannedChange(at, name, dice.randint(0, 10) * 5) for at, name in zip(moments, names, strict=True)]
    if dice.random() < CANCELLED_SHARE:
        found.append(PlannedChange(round(dice.uniform(10, 30), 1), title, cancels=True))
    return tuple(sorted(found, key=lambda change: change.at))


def _plan_meeting(dice: Random, number: int, people: list[str]) -> PlannedMeeting:
    sessions = list[PlannedSession]()
    messages = list[PlannedMessage]()
    for who in people:
        joins = round(dice.uniform(0.5, 5), 1)
        for _ in range(dice.randint(1, 2)):
            leaves = round(joins + dice.uniform(2, 5), 1)
            sessions.append(PlannedSession(who, joins, leaves))
            joins = round(leaves + dice.uniform(1, 2), 1)
        messages += [
            PlannedMessage(round(dice.uniform(1, 12), 1), who, f"{who} says {message_number} at {number}")
            for message_number in range(dice.randint(0, 3))
        ]
    return PlannedMeeting(
        lead=round(dice.uniform(10, 14), 1),
        starts_after=round(dice.uniform(1, 3), 1),
        sessions=tuple(sorted(sessions, key=lambda stay: stay.joins)),
        messages=tuple(sorted(messages, key=lambda each: each.at)),
        ends=round(dice.uniform(10, 16), 1),
    )
