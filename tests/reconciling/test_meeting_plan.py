"""After a plan was applied, each event has its one meeting, and the next plan is empty."""

from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from app.reconciling.meeting_plan import (
    COPY,
    PAST,
    UNKNOWN_OWNER,
    Action,
    Adopt,
    ClearOrphan,
    Correct,
    Delete,
    DesiredMeeting,
    FoundMeeting,
    Leave,
    MeetingRow,
    Recreate,
    Retire,
    plan,
)

EVENTS = [UUID(int=number) for number in range(1, 5)]
LOST = UUID(int=99)
HOSTS = ["ada", "ben"]
MARKERS = [f"marker {number}" for number in range(6)]


@dataclass
class World:
    """Our rows, the desired meetings, Zoom's meetings with our marker by number, and changed numbers."""

    rows: dict[UUID, MeetingRow]
    desired: dict[UUID, DesiredMeeting]
    zoom: dict[int, FoundMeeting]
    changed: set[int]

    def plan(self) -> list[Action]:
        """Return the plan for this world."""
        known = {row.number for row in self.rows.values() if row.number is not None}
        gone = frozenset(known - self.zoom.keys())
        found = [one for number, one in self.zoom.items() if number not in known]
        return plan(found, list(self.rows.values()), self.desired, gone, frozenset(self.changed))

    def serving(self, event_id: UUID) -> MeetingRow | None:
        """Return the row that serves an event."""
        return next((row for row in self.rows.values() if row.serves and row.event_id == event_id), None)

    def apply(self, action: Action) -> None:
        """Apply the actions, and do what the ordinary jobs do then."""
        if isinstance(action, Adopt):
            row = self.serving(action.event_id)
            if row is not None and row.number is not None:
                self.rows[row.id] = replace(row, serves=False)
                row = None
            row = row or MeetingRow(uuid4(), action.event_id, None, "")
            self.rows[row.id] = replace(row, number=action.number, marker=self.zoom[action.number].marker)
            self.changed.discard(action.number)  # the next sync sends the whole plan
        elif isinstance(action, Recreate):
            self.rows[action.row_id] = replace(self.rows[action.row_id], serves=False)
            self._make(action.event_id)
        elif isinstance(action, Correct):
            self.changed.discard(action.number)
        elif isinstance(action, ClearOrphan):
            row = self.rows[action.row_id]
            marker = self.zoom.pop(action.number).marker
            if not any(one.marker == marker for one in self.zoom.values()):
                left = tuple(each for each in row.orphan_markers if each != marker)
                self.rows[row.id] = replace(row, orphan_markers=left)
        elif isinstance(action, Retire | Delete):
            self.zoom.pop(action.number)

    def _make(self, event_id: UUID) -> None:
        number = max([0, *self.zoom, *(row.number or 0 for row in self.rows.values())]) + 1
        marker = str(uuid4())
        host = self.desired[event_id].host
        assert host is not None
        made = MeetingRow(uuid4(), event_id, number, marker)
        self.rows[made.id] = made
        self.zoom[number] = FoundMeeting(number, host, marker, event_id, is_over=False)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any database and any Zoom with a few events, hosts and markers, so that coincidences are common."""
    desired = {
        event_id: DesiredMeeting(draw(st.sampled_from([None, *HOSTS])), draw(st.booleans()))
        for event_id in EVENTS
        if draw(st.booleans()) or draw(st.booleans())
    }
    numbers = draw(st.lists(st.integers(1, 12), unique=True, max_size=12))
    rows: dict[UUID, MeetingRow] = {}
    taken = set[int]()
    for event_id in desired:
        for serves in draw(st.sampled_from([[], [True], [False], [True, False]])):
            free = sorted(set(range(1, 9)) - taken)
            number = draw(st.sampled_from([None, *free])) if free else None
            taken |= {number} if number is not None else set()
            orphans = draw(st.lists(st.sampled_from(MARKERS[3:]), max_size=1))
            row = MeetingRow(uuid4(), event_id, number, draw(st.sampled_from(MARKERS)), tuple(orphans), serves)
            rows[row.id] = row
    zoom = {
        number: FoundMeeting(
            number,
            draw(st.sampled_from(HOSTS)),
            draw(st.sampled_from(MARKERS)),
            draw(st.sampled_from([None, LOST, *EVENTS])),
            is_over=draw(st.booleans()),
        )
        for number in numbers
    }
    changed = set(draw(st.lists(st.sampled_from(sorted(zoom)), unique=True))) if zoom else set()
    return World(rows, desired, zoom, changed)


@given(worlds())
def test_each_meeting_is_decided_about_once_and_a_known_one_never_deleted(world: World) -> None:
    actions = world.plan()
    known = {row.number for row in world.rows.values()}
    numbers = [action.number for action in actions if not isinstance(action, Recreate)]
    assert len(set(numbers)) == len(numbers)
    assert not known & {
        action.number for action in actions if isinstance(action, Adopt | Retire | Delete | ClearOrphan)
    }


@given(worlds())
def test_what_is_deleted_nobody_wants(world: World) -> None:
    for action in world.plan():
        if isinstance(action, Retire | Delete):
            one = world.zoom[action.number]
            assert not one.is_over
            bearers = (row.event_id for row in world.rows.values() if row.marker == one.marker)
            owner = next(bearers, one.event_id)
            assert isinstance(action, Delete) == (owner not in world.desired)


@given(worlds())
def test_an_event_adopts_one_meeting_on_its_host_and_only_where_it_lacks_one(world: World) -> None:
    adopted = [action for action in world.plan() if isinstance(action, Adopt)]
    assert len({action.event_id for action in adopted}) == len(adopted)
    for action in adopted:
        row = world.serving(action.event_id)
        assert row is None or row.number is None or row.number not in world.zoom
        assert world.desired[action.event_id].host == world.zoom[action.number].host


@given(worlds())
def test_applied_a_plan_leaves_nothing_to_plan(world: World) -> None:
    for action in world.plan():
        world.apply(action)
    assert [action for action in world.plan() if not isinstance(action, Leave)] == []
    for event_id, wanted in world.desired.items():
        row = world.serving(event_id)
        if wanted.host and not wanted.is_over and row is not None and row.number is not None:
            assert row.number in world.zoom


@given(worlds())
def test_the_order_in_which_anything_is_listed_means_nothing(world: World) -> None:
    turned = World(world.rows, world.desired, dict(reversed(world.zoom.items())), world.changed)
    assert set(turned.plan()) == set(world.plan())


def test_a_copy_made_inside_zoom_is_left_alone() -> None:
    row = MeetingRow(uuid4(), EVENTS[0], 1, "ours")
    desired = {EVENTS[0]: DesiredMeeting(HOSTS[0])}
    copy = FoundMeeting(2, HOSTS[0], "ours", EVENTS[0], is_over=False)
    assert plan([copy], [row], desired) == [Leave(2, COPY)]


def test_a_marker_that_says_not_whose_it_is_is_left_alone() -> None:
    assert plan([FoundMeeting(2, HOSTS[0], "older", None, is_over=False)], [], {}) == [Leave(2, UNKNOWN_OWNER)]


def test_what_is_over_is_left_alone_for_its_recordings_unless_its_event_lacks_it() -> None:
    past = FoundMeeting(2, HOSTS[0], "ours", EVENTS[0], is_over=True)
    assert plan([past], [], {}) == [Leave(2, PAST)]
    assert plan([past], [], {EVENTS[0]: DesiredMeeting(HOSTS[0], is_over=True)}) == [Adopt(2, EVENTS[0])]


def test_a_meeting_on_another_host_than_the_event_wants_is_deleted() -> None:
    moved = FoundMeeting(2, HOSTS[1], "ours", EVENTS[0], is_over=False)
    row = MeetingRow(uuid4(), EVENTS[0], 1, "before")
    desired = {EVENTS[0]: DesiredMeeting(HOSTS[0])}
    assert plan([moved], [row], desired) == [Retire(2, EVENTS[0])]
    assert plan([moved], [row], desired, gone={1}) == [Retire(2, EVENTS[0]), Recreate(row.id, EVENTS[0])]
