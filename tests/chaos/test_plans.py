"""The same seed gives the same faults and the same workload, and both can be carried out."""

from collections import Counter
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.chaos.fault_plan import CONCURRENT_KINDS, DATABASE, FAULT_KINDS, LEASE, REDIS, plan_faults
from app.chaos.workload_plan import HOSTS, MAX_RSVPS, plan_workload

SEEDS = st.integers(0, 10_000)
LONG = st.sampled_from([25.0, 40.0, 300.0])


@given(SEEDS, LONG)
def test_a_seed_has_one_plan(seed: int, seconds: float) -> None:
    assert plan_faults(seed, seconds) == plan_faults(seed, seconds)
    assert plan_workload(seed, seconds) == plan_workload(seed, seconds)


def test_another_seed_has_another_plan() -> None:
    assert len({str(plan_faults(seed, 60)) for seed in range(10)}) == 10
    assert len({str(plan_workload(seed, 60)) for seed in range(10)}) == 10


@given(SEEDS, LONG)
def test_every_fault_is_over_in_time_and_hits_what_it_can(seed: int, seconds: float) -> None:
    faults = plan_faults(seed, seconds)
    assert faults
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    for fault in faults:
        kind = FAULT_KINDS[fault.kind]
        assert fault.ends_at <= seconds
        assert fault.target in kind.targets
        assert kind.shortest <= fault.seconds <= kind.longest
        assert fault.amount in kind.amounts


@given(SEEDS)
def test_nothing_is_struck_while_it_is_struck(seed: int) -> None:
    for one, other in combinations(
        [fault for fault in plan_faults(seed, 300) if fault.kind not in CONCURRENT_KINDS], 2
    ):
        assert one.target != other.target or one.ends_at <= other.at


@given(SEEDS)
def test_a_long_run_has_every_kind_of_fault_about_as_often(seed: int) -> None:
    counted = Counter(fault.kind for fault in plan_faults(seed, 1800))
    assert counted.keys() == FAULT_KINDS.keys()
    assert max(counted.values()) <= 3 * min(counted.values())


@given(SEEDS)
def test_half_a_minute_has_faults_of_many_kinds(seed: int) -> None:
    assert len({fault.kind for fault in plan_faults(seed, 35)}) >= 5


def test_what_the_issue_names_can_happen() -> None:
    assert {kind for kind, one in FAULT_KINDS.items() if DATABASE in one.targets} == {
        "restart fast", "restart immediate", "freeze sessions", "half open",
    }  # fmt: skip
    assert {kind for kind, one in FAULT_KINDS.items() if REDIS in one.targets} == {
        "kill server", "flush", "freeze server", "half open",
    }  # fmt: skip
    assert FAULT_KINDS["freeze"].longest < LEASE < FAULT_KINDS["freeze past the lease"].shortest


@given(SEEDS, LONG)
def test_what_the_community_does_stays_within_the_limits_of_a_day(seed: int, seconds: float) -> None:
    planned = plan_workload(seed, seconds)
    assert [each.at for each in planned] == sorted(each.at for each in planned)
    assert any(each.meeting for each in planned)
    assert any(not each.meeting for each in planned)
    changes = Counter[int]()
    for each in planned:
        assert each.at < seconds
        assert all(1 <= len(rsvps) <= MAX_RSVPS for rsvps in each.rsvps.values())
        changes[each.host] += 1 + len(each.changes)
    assert max(changes.values()) <= 100
    assert set(changes) <= set(range(HOSTS))


@given(SEEDS)
def test_whoever_is_inside_a_meeting_leaves_it(seed: int) -> None:
    for each in plan_workload(seed, 120):
        if each.meeting:
            assert all(
                session.who in each.rsvps and session.joins + 1 < session.leaves for session in each.meeting.sessions
            )
            for who in each.rsvps:
                mine = [session for session in each.meeting.sessions if session.who == who]
                assert all(one.leaves < other.joins for one, other in pairwise(mine))
            assert len({message.text for message in each.meeting.messages}) == len(each.meeting.messages)
