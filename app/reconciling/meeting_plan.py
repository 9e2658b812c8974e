"""Plan what to do with the meetings of one account after a restore. Pure.

The plan covers the meetings at Zoom that carry our marker, and the meetings that our rows name. After a plan was
applied, the next plan is empty.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from uuid import UUID

# Reasons to leave a meeting alone, as the operator reads them.
COPY = "it is a copy of a known one that somebody made inside Zoom"
UNKNOWN_OWNER = "its marker is an older one, or another installation's: nobody knows whose it is"
PAST = "it is over, and recordings may hang on it"


@dataclass(frozen=True)
class FoundMeeting:
    """A meeting at Zoom with our marker.

    `host` is a Zoom user id, `event_id` the event in the marker, and `is_over` tells whether its time is past.
    """

    number: int
    host: str
    marker: str
    event_id: UUID | None
    is_over: bool


@dataclass(frozen=True)
class MeetingRow:
    """A meeting as the database knows it. `serves` tells whether it serves its event, so is not retired."""

    id: UUID
    event_id: UUID
    number: int | None
    marker: str
    orphan_markers: tuple[str, ...] = ()
    serves: bool = True


@dataclass(frozen=True)
class DesiredMeeting:
    """The meeting an event needs: one of `host`, a Zoom user id, or none. `is_over` is about the event."""

    host: str | None
    is_over: bool = False


@dataclass(frozen=True)
class Adopt:
    """Let the meeting serve its event, which has none."""

    number: int
    event_id: UUID


@dataclass(frozen=True)
class Recreate:
    """Create a new meeting for an event, because the one that served it is gone at Zoom."""

    row_id: UUID
    event_id: UUID


@dataclass(frozen=True)
class Correct:
    """Send the whole plan again, because the meeting at Zoom changed after the backup."""

    row_id: UUID
    event_id: UUID
    number: int


@dataclass(frozen=True)
class Retire:
    """Delete a meeting of an event that has another meeting or needs none."""

    number: int
    event_id: UUID


@dataclass(frozen=True)
class ClearOrphan:
    """Delete an orphan: have the job of the row run that has its marker."""

    number: int
    row_id: UUID


@dataclass(frozen=True)
class Delete:
    """Delete a meeting whose event the database does not know."""

    number: int


@dataclass(frozen=True)
class Leave:
    """Leave a meeting alone, for the `reason`."""

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
    """Return what to do with the account's meetings, at Zoom and here.

    `gone` are numbers that Zoom does not know any more, `changed` those of meetings that changed after the backup.
    """
    serving = {row.event_id: row for row in rows if row.serves}
    known = {row.number for row in rows if row.number is not None}
    adopted: dict[UUID, int] = {}
    actions: list[Action] = []
    # If several meetings could serve an event, the one with the marker of the event's row comes first.
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
    """Return what to do with a meeting whose number no row has."""
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
    """Yield what to do about the meetings that serve events by our rows."""
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
