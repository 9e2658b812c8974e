"""What is to become of the meetings with our marker, and of those we know: what is known and what Zoom has, to actions.

Pure. Applied, a plan leaves nothing to plan.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from uuid import UUID

COPY = "it is a copy of a known one that somebody made inside Zoom"
UNKNOWN_OWNER = "its marker is an older one, or another installation's: nobody knows whose it is"
PAST = "it is over, and recordings may hang on it"


@dataclass(frozen=True)
class FoundMeeting:
    """A meeting at Zoom with our marker. `host` is a Zoom user id, `event_id` whose the marker says, `is_over` whether its
    time is past."""

    number: int
    host: str
    marker: str
    event_id: UUID | None
    is_over: bool


@dataclass(frozen=True)
class MeetingRow:
    """A meeting as the database knows it. `serves` tells whether it is its event's, and not settled."""

    id: UUID
    event_id: UUID
    number: int | None
    marker: str
    orphan_markers: tuple[str, ...] = ()
    serves: bool = True


@dataclass(frozen=True)
class DesiredMeeting:
    """What an event wants of Zoom: a meeting of `host`, a Zoom user id, or none. `is_over` tells whether it is past."""

    host: str | None
    is_over: bool = False


@dataclass(frozen=True)
class Adopt:
    """A meeting serves the event that lacks one."""

    number: int
    event_id: UUID


@dataclass(frozen=True)
class Recreate:
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
class ClearOrphan:
    """A meeting that an attempt without an answer left behind is deleted with its row."""

    number: int
    row_id: UUID


@dataclass(frozen=True)
class Delete:
    """A meeting of an event nobody knows is deleted."""

    number: int


@dataclass(frozen=True)
class Leave:
    """A meeting is left alone, and `reason`."""

    number: int
    reason: str


Action = Adopt | Recreate | Correct | Retire | ClearOrphan | Delete | Leave


def plan(
    found_meetings: Sequence[FoundMeeting],
    rows: Sequence[MeetingRow],
    desired: Mapping[UUID, DesiredMeeting],
    gone: AbstractSet[int] = frozenset(),
    changed: AbstractSet[int] = frozenset(),
) -> list[Action]:
    """What is to be done. `gone` are numbers that Zoom does not know any more, `changed` those it has otherwise."""
    serving = {row.event_id: row for row in rows if row.serves}
    known = {row.number for row in rows if row.number is not None}
    adopted: dict[UUID, int] = {}
    actions: list[Action] = []
    # Of several that could serve an event, the one whose marker its row bears comes first.
    for meeting in sorted(
        found_meetings,
        key=lambda meeting: (not _has_marker_of(serving.get(meeting.event_id or UUID(int=0)), meeting), meeting.number),
    ):
        if meeting.number not in known:
            action = _plan_unknown(meeting, rows, serving, desired, gone, adopted)
            if isinstance(action, Adopt):
                adopted[action.event_id] = action.number
            actions.append(action)
    return [*actions, *_plan_known(serving, desired, gone, changed, adopted)]


def _has_marker_of(row: MeetingRow | None, meeting: FoundMeeting) -> bool:
    return row is not None and row.marker == meeting.marker


def _plan_unknown(
    meeting: FoundMeeting,
    rows: Sequence[MeetingRow],
    serving: Mapping[UUID, MeetingRow],
    desired: Mapping[UUID, DesiredMeeting],
    gone: AbstractSet[int],
    adopted: Mapping[UUID, int],
) -> Action:
    owner_row = next((row for row in rows if _has_marker_of(row, meeting)), None)
    abandoned = next((row for row in rows if meeting.marker in row.orphan_markers), None)
    if abandoned is not None and owner_row is None:
        return ClearOrphan(meeting.number, abandoned.id)
    event_id = owner_row.event_id if owner_row else meeting.event_id
    if owner_row is not None and owner_row.number is not None and owner_row.number not in gone:
        return Leave(meeting.number, COPY)
    if event_id is None:
        return Leave(meeting.number, UNKNOWN_OWNER)
    wanted = desired.get(event_id)
    row = serving.get(event_id)
    needs_meeting = (row is None or row.number is None or row.number in gone) and event_id not in adopted
    if wanted is not None and needs_meeting and wanted.host == meeting.host:
        return Adopt(meeting.number, event_id)
    if meeting.is_over:
        return Leave(meeting.number, PAST)
    return Delete(meeting.number) if wanted is None else Retire(meeting.number, event_id)


def _plan_known(
    serving: Mapping[UUID, MeetingRow],
    desired: Mapping[UUID, DesiredMeeting],
    gone: AbstractSet[int],
    changed: AbstractSet[int],
    adopted: Mapping[UUID, int],
) -> Iterator[Action]:
    for event_id, row in sorted(serving.items()):
        wanted = desired.get(event_id, DesiredMeeting(None))
        if wanted.host is None or wanted.is_over or event_id in adopted:
            continue
        if row.number is None:
            continue
        if row.number in gone:
            yield Recreate(row.id, event_id)
        elif row.number in changed:
            yield Correct(row.id, event_id, row.number)
