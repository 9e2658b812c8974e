"""Whatever is known and whatever Zoom lists: applied, a plan leaves exactly those registered who are coming."""

from dataclasses import dataclass, field, replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.reconciling.registrant_plan import (
    Action,
    AddAgain,
    Adopt,
    Answer,
    Listed,
    Record,
    Remove,
    TakenOff,
    TakeOff,
    plan,
)

EMAILS = ["a@x.example", "b@x.example", "c@x.example", "lost@x.example"]


@dataclass
class World:
    """The answers and Zoom's registrants, by id; those that are cancelled are not listed."""

    answers: dict[UUID, Answer]
    zoom: dict[str, Listed]
    made: int = field(default=0)

    def plan(self) -> list[Action]:
        """The plan for this world."""
        return plan(list(self.zoom.values()), list(self.answers.values()))

    def apply(self, action: Action) -> None:
        """What is written down."""
        if isinstance(action, Adopt | TakeOff):
            answer = self.answers[action.registration_id]
            state = "ready" if isinstance(action, Adopt) else "pending"
            self._know(answer, Record(state, action.registrant_id))
        elif isinstance(action, AddAgain):
            self._know(self.answers[action.registration_id], Record("cancelled", None))
        elif isinstance(action, TakenOff):
            self._know(self.answers[action.registration_id], Record("denied", "x"))
        elif isinstance(action, Remove):
            self.zoom.pop(action.registrant_id)

    def _know(self, answer: Answer, record: Record) -> None:
        self.answers[answer.registration_id] = replace(answer, record=record)

    def work(self) -> None:
        """What each member's own job does then."""
        for answer in list(self.answers.values()):
            record = answer.record
            kept_out = record is not None and (record.due or record.state == "denied")
            if kept_out:
                continue
            if not answer.wants and record is not None and record.state in {"ready", "pending"}:
                rivals = [each for each in self.answers.values() if each is not answer and each.wants]
                if answer.email not in {each.email for each in rivals}:
                    self.zoom.pop(record.zoom_id or "", None)
                self._know(answer, Record("cancelled", None))
            elif answer.wants and (record is None or record.state != "ready"):
                self._add(answer)

    def _add(self, answer: Answer) -> None:
        same = next((one for one in self.zoom.values() if one.email == answer.email and one.status != "denied"), None)
        if same is None:
            self.made += 1
            same = Listed(f"made {self.made}", answer.email, "approved", since=True)
        self.zoom[same.id] = replace(same, status="approved", has_link=True)
        self._know(answer, Record("ready", same.id))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """One member under each address, or none; any records, and any registrants."""
    ids = [f"id {number}" for number in range(5)]
    answers = {}
    for number, email in enumerate(EMAILS[:3]):
        if draw(st.booleans()) or draw(st.booleans()):
            state = draw(st.sampled_from(["ready", "pending", "cancelled", "denied", None]))
            record = Record(state, ids[number], due=draw(st.booleans()) and state == "pending") if state else None
            registration_id = UUID(int=number + 1)
            answers[registration_id] = Answer(registration_id, email, wants=draw(st.booleans()), record=record)
    zoom = {}
    for number, email in enumerate(EMAILS):
        if draw(st.booleans()):
            # Zoom's record may be another than the one we knew.
            own = draw(st.sampled_from([ids[number], f"other {number}"]))
            status = draw(st.sampled_from(["approved", "pending", "denied"]))
            zoom[own] = Listed(own, email, status, since=draw(st.booleans()), has_link=status == "approved")
    return World(answers, zoom)


@given(worlds())
def test_applied_and_worked_off_a_plan_leaves_exactly_those_who_are_coming(world: World) -> None:
    before = set(world.zoom)
    for action in world.plan():
        world.apply(action)
    world.work()
    approved = {one.email: one for one in world.zoom.values() if one.status == "approved"}
    for answer in world.answers.values():
        kept_out = answer.record is not None and (answer.record.due or answer.record.state == "denied")
        if kept_out:
            continue
        assert (answer.email in approved) == answer.wants
        if answer.wants:
            assert answer.record == Record("ready", approved[answer.email].id)
    # Who was approved before the backup, and never answered, was approved by a host inside Zoom.
    strangers = [one for one in world.zoom.values() if one.email == EMAILS[3]]
    assert not [one for one in strangers if one.since and one.status in {"approved", "pending"} and one.id in before]


@given(worlds())
def test_worked_off_nothing_is_left_to_plan(world: World) -> None:
    for action in world.plan():
        world.apply(action)
    world.work()
    assert world.plan() == []


@given(worlds())
def test_written_down_nothing_is_planned_a_second_time(world: World) -> None:
    first = world.plan()
    for action in first:
        world.apply(action)
    assert world.plan() == []


def test_a_member_and_a_guest_of_one_address_share_a_registrant() -> None:
    member, guest, rival = (UUID(int=number) for number in (1, 2, 3))
    answers = [
        Answer(member, EMAILS[0], wants=True),
        Answer(rival, EMAILS[0], wants=True),
        Answer(guest, EMAILS[0], wants=True, is_guest=True),
    ]
    listed = [Listed("one", EMAILS[0], "approved", since=True)]
    assert plan(listed, answers) == [Adopt(member, "one"), Adopt(guest, "one")]


def test_an_address_nobody_verified_takes_no_registrant() -> None:
    answers = [Answer(UUID(int=1), EMAILS[0], wants=False, counts=False)]
    assert plan([Listed("one", EMAILS[0], "approved", since=False)], answers) == []
