"""The same seed gives the same faults and the same workload, and both can be done."""

from collections import Counter
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.chaos.happenings import HOSTS, MOST_ANSWERS, happenings
from app.chaos.strikes_plan import DATABASE, KINDS, LEASE, REDIS, TOGETHER, plan

SEEDS = st.integers(0, 10_000)
LONG = st.sampled_from([25.0, 40.0, 300.0])


@given(SEEDS, LONG)
def test_a_seed_has_one_plan(seed: int, seconds: float) -> None:
    assert plan(seed, seconds) == plan(seed, seconds)
    assert happenings(seed, seconds) == happenings(seed, seconds)


def test_another_seed_has_another_plan() -> None:
    assert len({str(plan(seed, 60)) for seed in range(10)}) == 10
    assert len({str(happenings(seed, 60)) for seed in range(10)}) == 10


@given(SEEDS, LONG)
def test_every_fault_is_over_in_time_and_hits_what_it_can(seed: int, seconds: float) -> None:
    strikes = plan(seed, seconds)
    assert strikes
    assert [strike.at for strike in strikes] == sorted(strike.at for strike in strikes)
    for strike in strikes:
        kind = KINDS[strike.kind]
        assert strike.until <= seconds
        assert strike.target in kind.targets
        assert kind.shortest <= strike.seconds <= kind.longest
        assert strike.amount in kind.amounts


@given(SEEDS)
def test_nothing_is_struck_while_it_is_struck(seed: int) -> None:
    for one, other in combinations([strike for strike in plan(seed, 300) if strike.kind not in TOGETHER], 2):
        assert one.target != other.target or one.until <= other.at


@given(SEEDS)
def test_a_long_run_has_every_kind_of_fault_about_as_often(seed: int) -> None:
    counted = Counter(strike.kind for strike in plan(seed, 1800))
    assert counted.keys() == KINDS.keys()
    assert max(counted.values()) <= 3 * min(counted.values())


@given(SEEDS)
def test_half_a_minute_has_faults_of_many_kinds(seed: int) -> None:
    assert len({strike.kind for strike in plan(seed, 35)}) >= 5


def test_what_the_issue_names_can_happen() -> None:
    assert {kind for kind, one in KINDS.items() if DATABASE in one.targets} == {
        "restart fast", "restart immediate", "freeze sessions", "half open",
    }  # fmt: skip
    assert {kind for kind, one in KINDS.items() if REDIS in one.targets} == {
        "kill server", "flush", "freeze server", "half open",
    }  # fmt: skip
    assert KINDS["freeze"].longest < LEASE < KINDS["freeze past the lease"].shortest


@given(SEEDS, LONG)
def test_what_the_community_does_stays_within_the_limits_of_a_day(seed: int, seconds: float) -> None:
    lived = happenings(seed, seconds)
    assert [each.at for each in lived] == sorted(each.at for each in lived)
    assert any(each.meeting for each in lived)
    assert any(not each.meeting for each in lived)
    changes = Counter[int]()
    for each in lived:
        assert each.at < seconds
        assert all(1 <= len(answers) <= MOST_ANSWERS for answers in each.answers.values())
        changes[each.host] += 1 + len(each.changes)
    assert max(changes.values()) <= 100
    assert set(changes) <= set(range(HOSTS))


@given(SEEDS)
def test_whoever_is_inside_a_meeting_leaves_it(seed: int) -> None:
    for each in happenings(seed, 120):
        if each.meeting:
            assert all(stay.who in each.answers and stay.joins + 1 < stay.leaves for stay in each.meeting.stays)
            for who in each.answers:
                mine = [stay for stay in each.meeting.stays if stay.who == who]
                assert all(one.leaves < other.joins for one, other in pairwise(mine))
            assert len({said.text for said in each.meeting.said}) == len(each.meeting.said)
