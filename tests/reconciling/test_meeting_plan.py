"""Whatever is known and whatever Zoom has: applied, a plan leaves each event its one meeting, and nothing to plan."""

from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from app.reconciling.meeting_plan import (
    COPY,
    PAST,
    UNKNOWN,
    Action,
    Adopt,
    Clear,
    Correct,
    Delete,
    Found,
    Leave,
    Remake,
    Retire,
    Row,
    Wish,
    plan,
)

EVENTS = [UUID(int=number) for number in range(1, 5)]
LOST = UUID(int=99)
HOSTS = ["ada", "ben"]
MARKERS = [f"marker {number}" for number in range(6)]


@dataclass
class World:
    """Rows, wishes, and what Zoom has: the meetings with our marker by number, and numbers that are otherwise."""

    rows: dict[UUID, Row]
    wishes: dict[UUID, Wish]
    zoom: dict[int, Found]
    altered: set[int]

    def plan(self) -> list[Action]:
        """The plan for this world."""
        known = {row.number for row in self.rows.values() if row.number is not None}
        gone = frozenset(known - self.zoom.keys())
        found = [one for number, one in self.zoom.items() if number not in known]
        return plan(found, list(self.rows.values()), self.wishes, gone, frozenset(self.altered))

    def serving(self, event_id: UUID) -> Row | None:
        """The row that serves an event."""
        return next((row for row in self.rows.values() if row.serves and row.event_id == event_id), None)

    def apply(self, action: Action) -> None:
        """What is written down, and then done by the ordinary jobs."""
        if isinstance(action, Adopt):
            row = self.serving(action.event_id)
            if row is not None and row.number is not None:
                self.rows[row.id] = replace(row, serves=False)
                row = None
            row = row or Row(uuid4(), action.event_id, None, "")
            self.rows[row.id] = replace(row, number=action.number, marker=self.zoom[action.number].marker)
            self.altered.discard(action.number)  # everything is asked for anew
        elif isinstance(action, Remake):
            self.rows[action.row_id] = replace(self.rows[action.row_id], serves=False)
            self._make(action.event_id)
        elif isinstance(action, Correct):
            self.altered.discard(action.number)
        elif isinstance(action, Clear):
            row = self.rows[action.row_id]
            marker = self.zoom.pop(action.number).marker
            if not any(one.marker == marker for one in self.zoom.values()):
                left = tuple(each for each in row.orphan_markers if each != marker)
                self.rows[row.id] = replace(row, orphan_markers=left)
        elif isinstance(action, Retire | Delete):
            self.zoom.pop(action.number)

    def _make(self, event_id: UUID) -> None:
        number, marker = max([0, *self.zoom, *(row.number or 0 for row in self.rows.values())]) + 1, str(uuid4())
        host = self.wishes[event_id].host
        assert host is not None
        made = Row(uuid4(), event_id, number, marker)
        self.rows[made.id], self.zoom[number] = made, Found(number, host, marker, event_id, over=False)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any database and any Zoom, of a few events, hosts and markers, with every coincidence."""
    wishes = {
        event_id: Wish(draw(st.sampled_from([None, *HOSTS])), draw(st.booleans()))
        for event_id in EVENTS
        if draw(st.booleans()) or draw(st.booleans())
    }
    numbers = draw(st.lists(st.integers(1, 12), unique=True, max_size=12))
    rows: dict[UUID, Row] = {}
    taken = set[int]()
    for event_id in wishes:
        for serves in draw(st.sampled_from([[], [True], [False], [True, False]])):
            free = sorted(set(range(1, 9)) - taken)
            number = draw(st.sampled_from([None, *free])) if free else None
            taken |= {number} if number is not None else set()
            orphans = draw(st.lists(st.sampled_from(MARKERS[3:]), max_size=1))
            row = Row(uuid4(), event_id, number, draw(st.sampled_from(MARKERS)), tuple(orphans), serves)
            rows[row.id] = row
    zoom = {
        number: Found(
            number,
            draw(st.sampled_from(HOSTS)),
            draw(st.sampled_from(MARKERS)),
            draw(st.sampled_from([None, LOST, *EVENTS])),
            over=draw(st.booleans()),
        )
        for number in numbers
    }
    altered = set(draw(st.lists(st.sampled_from(sorted(zoom)), unique=True))) if zoom else set()
    return World(rows, wishes, zoom, altered)


@given(worlds())
def test_each_meeting_is_decided_about_once_and_a_known_one_never_deleted(world: World) -> None:
    actions, known = world.plan(), {row.number for row in world.rows.values()}
    numbers = [action.number for action in actions if not isinstance(action, Remake)]
    assert len(set(numbers)) == len(numbers)
    assert not known & {action.number for action in actions if isinstance(action, Adopt | Retire | Delete | Clear)}


@given(worlds())
def test_what_is_deleted_nobody_wants(world: World) -> None:
    for action in world.plan():
        if isinstance(action, Retire | Delete):
            one = world.zoom[action.number]
            assert not one.over
            bearers = (row.event_id for row in world.rows.values() if row.marker == one.marker)
            owner = next(bearers, one.event_id)
            assert isinstance(action, Delete) == (owner not in world.wishes)


@given(worlds())
def test_an_event_adopts_one_meeting_on_its_host_and_only_where_it_lacks_one(world: World) -> None:
    adopted = [action for action in world.plan() if isinstance(action, Adopt)]
    assert len({action.event_id for action in adopted}) == len(adopted)
    for action in adopted:
        row = world.serving(action.event_id)
        assert row is None or row.number is None or row.number not in world.zoom
        assert world.wishes[action.event_id].host == world.zoom[action.number].host


@given(worlds())
def test_applied_a_plan_leaves_nothing_to_plan(world: World) -> None:
    for action in world.plan():
        world.apply(action)
    assert [action for action in world.plan() if not isinstance(action, Leave)] == []
    for event_id, wish in world.wishes.items():
        row = world.serving(event_id)
        if wish.host and not wish.over and row is not None and row.number is not None:
            assert row.number in world.zoom


@given(worlds())
def test_the_order_in_which_anything_is_listed_means_nothing(world: World) -> None:
    turned = World(world.rows, world.wishes, dict(reversed(world.zoom.items())), world.altered)
    assert set(turned.plan()) == set(world.plan())


def test_a_copy_made_inside_zoom_is_left_alone() -> None:
    row = Row(uuid4(), EVENTS[0], 1, "ours")
    wishes = {EVENTS[0]: Wish(HOSTS[0])}
    copy = Found(2, HOSTS[0], "ours", EVENTS[0], over=False)
    assert plan([copy], [row], wishes) == [Leave(2, COPY)]


def test_a_marker_that_says_not_whose_it_is_is_left_alone() -> None:
    assert plan([Found(2, HOSTS[0], "older", None, over=False)], [], {}) == [Leave(2, UNKNOWN)]


def test_what_is_over_is_left_alone_for_its_recordings_unless_its_event_lacks_it() -> None:
    past = Found(2, HOSTS[0], "ours", EVENTS[0], over=True)
    assert plan([past], [], {}) == [Leave(2, PAST)]
    assert plan([past], [], {EVENTS[0]: Wish(HOSTS[0], over=True)}) == [Adopt(2, EVENTS[0])]


def test_a_meeting_on_another_host_than_the_event_wants_is_deleted() -> None:
    moved = Found(2, HOSTS[1], "ours", EVENTS[0], over=False)
    row = Row(uuid4(), EVENTS[0], 1, "before")
    wishes = {EVENTS[0]: Wish(HOSTS[0])}
    assert plan([moved], [row], wishes) == [Retire(2, EVENTS[0])]
    assert plan([moved], [row], wishes, gone={1}) == [Retire(2, EVENTS[0]), Remake(row.id, EVENTS[0])]
