"""What a community does during a run: a plan that follows from a seed alone. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

ADMIN = "admin"
MEMBERS = 30
HOSTS = 12
MEMBERS_OF_AN_EVENT = 6
MOST_ANSWERS = 4  # of one member to one event: more would meet Zoom's daily limits, and ours on mails
CANCELLED = 0.2  # of the events that are planned
STATUSES = ("going", "going", "going", "maybe", "not_going")


@dataclass(frozen=True)
class Answer:
    """A member answers, or an admin on their behalf, `at` seconds after the event was made."""

    at: float
    status: str
    by_admin: bool


@dataclass(frozen=True)
class Change:
    """An admin changes an event: another title and another start, so many minutes later than first planned; or the
    title alone; or cancels it."""

    at: float
    title: str
    minutes: int | None = None
    cancels: bool = False


@dataclass(frozen=True)
class Stay:
    """A member clicks on Join and is inside, from and to so many seconds after the meeting started."""

    who: str
    joins: float
    leaves: float


@dataclass(frozen=True)
class Said:
    """A member writes something in the chat."""

    at: float
    who: str
    text: str


@dataclass(frozen=True)
class Meeting:
    """How an event is held: it begins `lead` seconds after it was made, and is started so many seconds later."""

    lead: float
    starts_after: float
    stays: tuple[Stay, ...]
    said: tuple[Said, ...]
    ends: float


@dataclass(frozen=True)
class Happening:
    """One event: made `at` seconds after the beginning, on the host of that number, `day` days ahead or to be held at
    once."""

    number: int
    at: float
    title: str
    host: int
    day: int
    answers: Mapping[str, tuple[Answer, ...]]
    changes: tuple[Change, ...]
    meeting: Meeting | None = None


def happenings(seed: int, seconds: float) -> list[Happening]:
    """The events of a run in the order they are made, the last well before `seconds`."""
    dice = Random(f"happenings {seed}")  # noqa: S311 - whoever has the seed is to have the plan
    planned, held = max(3, int(seconds / 15)), max(2, int(seconds / 40))
    last = max(1.0, seconds - 20)
    moments = sorted(
        [(round(dice.uniform(0, last), 1), False) for _ in range(planned)]
        + [(round(dice.uniform(0, last / 2 if seconds < 90 else last), 1), True) for _ in range(held)]
    )
    return [_happening(dice, number, at, is_held=is_held) for number, (at, is_held) in enumerate(moments)]


def _happening(dice: Random, number: int, at: float, *, is_held: bool) -> Happening:
    people = [f"m{one}" for one in sorted(dice.sample(range(MEMBERS), MEMBERS_OF_AN_EVENT))]
    within = 8.0 if is_held else 30.0
    answers = {who: _answers(dice, within) for who in people}
    title = f"Event {number}"
    if is_held:
        meeting = _meeting(dice, number, people)
        changes = (Change(round(dice.uniform(1, 6), 1), f"{title}, held"),) if dice.random() < 0.5 else ()
        return Happening(number, at, title, number % HOSTS, 0, answers, changes, meeting)
    return Happening(number, at, title, number % HOSTS, 1 + number // HOSTS, answers, _changes(dice, title))


def _answers(dice: Random, within: float) -> tuple[Answer, ...]:
    count = dice.randint(1, MOST_ANSWERS)
    moments = sorted(round(dice.uniform(0.2, within), 1) for _ in range(count))
    return tuple(Answer(at, dice.choice(STATUSES), dice.random() < 0.15) for at in moments)


def _changes(dice: Random, title: str) -> tuple[Change, ...]:
    moments = sorted(round(dice.uniform(0.5, 25), 1) for _ in range(dice.randint(0, 4)))
    # Back to the first title now and then: what is saved back must be saved back at Zoom, too.
    names = [title if dice.random() < 0.3 else f"{title}, {at:g}" for at in moments]
    found = [Change(at, name, dice.randint(0, 10) * 5) for at, name in zip(moments, names, strict=True)]
    if dice.random() < CANCELLED:
        found.append(Change(round(dice.uniform(10, 30), 1), title, cancels=True))
    return tuple(sorted(found, key=lambda change: change.at))


def _meeting(dice: Random, number: int, people: list[str]) -> Meeting:
    stays, said = list[Stay](), list[Said]()
    for who in people:
        joins = round(dice.uniform(0.5, 5), 1)
        for _ in range(dice.randint(1, 2)):
            leaves = round(joins + dice.uniform(2, 5), 1)
            stays.append(Stay(who, joins, leaves))
            joins = round(leaves + dice.uniform(1, 2), 1)
        said += [
            Said(round(dice.uniform(1, 12), 1), who, f"{who} says {word} at {number}")
            for word in range(dice.randint(0, 3))
        ]
    return Meeting(
        lead=round(dice.uniform(10, 14), 1),
        starts_after=round(dice.uniform(1, 3), 1),
        stays=tuple(sorted(stays, key=lambda stay: stay.joins)),
        said=tuple(sorted(said, key=lambda each: each.at)),
        ends=round(dice.uniform(10, 16), 1),
    )
