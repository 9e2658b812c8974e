"""What is to become of the meetings with our marker, and of those we know: what is known and what Zoom has, to actions.

Pure. Applied, a plan leaves nothing to plan.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from uuid import UUID

COPY = "it is a copy of a known one that somebody made inside Zoom"
UNKNOWN = "its marker is an older one, or another installation's: nobody knows whose it is"
PAST = "it is over, and recordings may hang on it"


@dataclass(frozen=True)
class Found:
    """A meeting at Zoom with our marker. `host` is a Zoom user id, `event_id` whose the marker says, `over` whether its
    time is past."""

    number: int
    host: str
    marker: str
    event_id: UUID | None
    over: bool


@dataclass(frozen=True)
class Row:
    """A meeting as the database knows it. `serves` tells whether it is its event's, and not settled."""

    id: UUID
    event_id: UUID
    number: int | None
    marker: str
    orphan_markers: tuple[str, ...] = ()
    serves: bool = True


@dataclass(frozen=True)
class Wish:
    """What an event wants of Zoom: a meeting of `host`, a Zoom user id, or none. `over` tells whether it is past."""

    host: str | None
    over: bool = False


@dataclass(frozen=True)
class Adopt:
    """A meeting serves the event that lacks one."""

    number: int
    event_id: UUID


@dataclass(frozen=True)
class Remake:
    """The meeting that served an event is gone at Zoom, and is made anew."""

    row_id: UUID
    event_id: UUID


@dataclass(frozen=True)
class Correct:
    """Zoom has an event's meeting otherwise than it was when the backup was made: it is made what the event wants."""

    row_id: UUID
    event_id: UUID
    number: int


@dataclass(frozen=True)
class Retire:
    """A meeting of an event that has another, or wants none, is deleted."""

    number: int
    event_id: UUID


@dataclass(frozen=True)
class Clear:
    """A meeting that an attempt without an answer left behind is deleted with its row."""

    number: int
    row_id: UUID


@dataclass(frozen=True)
class Delete:
    """A meeting of an event nobody knows is deleted."""

    number: int


@dataclass(frozen=True)
class Leave:
    """A meeting is left alone, and `why`."""

    number: int
    why: str


Action = Adopt | Remake | Correct | Retire | Clear | Delete | Leave


def plan(
    found: Sequence[Found],
    rows: Sequence[Row],
    wishes: Mapping[UUID, Wish],
    gone: AbstractSet[int] = frozenset(),
    altered: AbstractSet[int] = frozenset(),
) -> list[Action]:
    """What is to be done. `gone` are numbers that Zoom does not know any more, `altered` those it has otherwise."""
    serving = {row.event_id: row for row in rows if row.serves}
    known = {row.number for row in rows if row.number is not None}
    adopted: dict[UUID, int] = {}
    actions: list[Action] = []
    # Of several that could serve an event, the one whose marker its row bears comes first.
    for one in sorted(found, key=lambda one: (not _bears(serving.get(one.event_id or UUID(int=0)), one), one.number)):
        if one.number not in known:
            action = _of_unknown(one, rows, serving, wishes, gone, adopted)
            if isinstance(action, Adopt):
                adopted[action.event_id] = action.number
            actions.append(action)
    return [*actions, *_of_known(serving, wishes, gone, altered, adopted)]


def _bears(row: Row | None, one: Found) -> bool:
    return row is not None and row.marker == one.marker


def _of_unknown(
    one: Found,
    rows: Sequence[Row],
    serving: Mapping[UUID, Row],
    wishes: Mapping[UUID, Wish],
    gone: AbstractSet[int],
    adopted: Mapping[UUID, int],
) -> Action:
    bearer = next((row for row in rows if _bears(row, one)), None)
    abandoned = next((row for row in rows if one.marker in row.orphan_markers), None)
    if abandoned is not None and bearer is None:
        return Clear(one.number, abandoned.id)
    event_id = bearer.event_id if bearer else one.event_id
    if bearer is not None and bearer.number is not None and bearer.number not in gone:
        return Leave(one.number, COPY)
    if event_id is None:
        return Leave(one.number, UNKNOWN)
    wish = wishes.get(event_id)
    row = serving.get(event_id)
    lacks = (row is None or row.number is None or row.number in gone) and event_id not in adopted
    if wish is not None and lacks and wish.host == one.host:
        return Adopt(one.number, event_id)
    if one.over:
        return Leave(one.number, PAST)
    return Delete(one.number) if wish is None else Retire(one.number, event_id)


def _of_known(
    serving: Mapping[UUID, Row],
    wishes: Mapping[UUID, Wish],
    gone: AbstractSet[int],
    altered: AbstractSet[int],
    adopted: Mapping[UUID, int],
) -> Iterator[Action]:
    for event_id, row in sorted(serving.items()):
        wish = wishes.get(event_id, Wish(None))
        if wish.host is None or wish.over or event_id in adopted:
            continue
        if row.number is None:
            continue
        if row.number in gone:
            yield Remake(row.id, event_id)
        elif row.number in altered:
            yield Correct(row.id, event_id, row.number)
