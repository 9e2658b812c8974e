"""After a plan was applied, exactly the members who are coming are registered."""

from dataclasses import dataclass, field, replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.reconciling.registrant_plan import (
    Action,
    AddAgain,
    Adopt,
    CancelRegistrant,
    KnownRegistrant,
    ListedRegistrant,
    MarkDenied,
    RemoveStray,
    Rsvp,
    plan,
)

EMAILS = ["a@x.example", "b@x.example", "c@x.example", "lost@x.example"]


@dataclass
class World:
    """The answers, and Zoom's registrants by id; cancelled ones are not listed."""

    rsvps: dict[UUID, Rsvp]
    zoom: dict[str, ListedRegistrant]
    made: int = field(default=0)

    def plan(self) -> list[Action]:
        """Return the plan for this world."""
        return plan(list(self.zoom.values()), list(self.rsvps.values()))

    def apply(self, action: Action) -> None:
        """Apply the actions to the records."""
        if isinstance(action, Adopt | CancelRegistrant):
            rsvp = self.rsvps[action.registration_id]
            state = "ready" if isinstance(action, Adopt) else "pending"
            self._know(rsvp, KnownRegistrant(state, action.registrant_id))
        elif isinstance(action, AddAgain):
            self._know(self.rsvps[action.registration_id], KnownRegistrant("cancelled", None))
        elif isinstance(action, MarkDenied):
            self._know(self.rsvps[action.registration_id], KnownRegistrant("denied", "x"))
        elif isinstance(action, RemoveStray):
            self.zoom.pop(action.registrant_id)

    def _know(self, rsvp: Rsvp, record: KnownRegistrant) -> None:
        self.rsvps[rsvp.registration_id] = replace(rsvp, record=record)

    def work(self) -> None:
        """Do what the job of each registration does then."""
        for rsvp in list(self.rsvps.values()):
            record = rsvp.record
            kept_out = record is not None and (record.cancel_due or record.state == "denied")
            if kept_out:
                continue
            if not rsvp.should_be_registered and record is not None and record.state in {"ready", "pending"}:
                rivals = [each for each in self.rsvps.values() if each is not rsvp and each.should_be_registered]
                if rsvp.email not in {each.email for each in rivals}:
                    self.zoom.pop(record.zoom_id or "", None)
                self._know(rsvp, KnownRegistrant("cancelled", None))
            elif rsvp.should_be_registered and (record is None or record.state != "ready"):
                self._add(rsvp)

    def _add(self, rsvp: Rsvp) -> None:
        same = next((one for one in self.zoom.values() if one.email == rsvp.email and one.status != "denied"), None)
        if same is None:
            self.made += 1
            same = ListedRegistrant(f"made {self.made}", rsvp.email, "approved", is_new=True)
        self.zoom[same.id] = replace(same, status="approved", has_link=True)
        self._know(rsvp, KnownRegistrant("ready", same.id))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Worlds with at most one member for each address, any records and any registrants."""
    ids = [f"id {number}" for number in range(5)]
    rsvps = {}
    for number, email in enumerate(EMAILS[:3]):
        if draw(st.booleans()) or draw(st.booleans()):
            state = draw(st.sampled_from(["ready", "pending", "cancelled", "denied", None]))
            record = (
                KnownRegistrant(state, ids[number], cancel_due=draw(st.booleans()) and state == "pending")
                if state
                else None
            )
            registration_id = UUID(int=number + 1)
            rsvps[registration_id] = Rsvp(
                registration_id, email, should_be_registered=draw(st.booleans()), record=record
            )
    zoom = {}
    for number, email in enumerate(EMAILS):
        if draw(st.booleans()):
            # Zoom may have another registrant than the one we knew.
            own = draw(st.sampled_from([ids[number], f"other {number}"]))
            status = draw(st.sampled_from(["approved", "pending", "denied"]))
            zoom[own] = ListedRegistrant(own, email, status, is_new=draw(st.booleans()), has_link=status == "approved")
    return World(rsvps, zoom)


@given(worlds())
def test_applied_and_worked_off_a_plan_leaves_exactly_those_who_are_coming(world: World) -> None:
    before = set(world.zoom)
    for action in world.plan():
        world.apply(action)
    world.work()
    approved = {one.email: one for one in world.zoom.values() if one.status == "approved"}
    for rsvp in world.rsvps.values():
        kept_out = rsvp.record is not None and (rsvp.record.cancel_due or rsvp.record.state == "denied")
        if kept_out:
            continue
        assert (rsvp.email in approved) == rsvp.should_be_registered
        if rsvp.should_be_registered:
            assert rsvp.record == KnownRegistrant("ready", approved[rsvp.email].id)
    # Somebody approved before the backup who never answered was approved by a host inside Zoom.
    strangers = [one for one in world.zoom.values() if one.email == EMAILS[3]]
    assert not [one for one in strangers if one.is_new and one.status in {"approved", "pending"} and one.id in before]


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
    rsvps = [
        Rsvp(member, EMAILS[0], should_be_registered=True),
        Rsvp(rival, EMAILS[0], should_be_registered=True),
        Rsvp(guest, EMAILS[0], should_be_registered=True, is_guest=True),
    ]
    listed = [ListedRegistrant("one", EMAILS[0], "approved", is_new=True)]
    assert plan(listed, rsvps) == [Adopt(member, "one"), Adopt(guest, "one")]


def test_an_address_nobody_verified_takes_no_registrant() -> None:
    rsvps = [Rsvp(UUID(int=1), EMAILS[0], should_be_registered=False, email_verified=False)]
    assert plan([ListedRegistrant("one", EMAILS[0], "approved", is_new=False)], rsvps) == []
