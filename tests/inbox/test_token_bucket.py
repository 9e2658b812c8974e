"""An account may send enough with its own secret, but not more than the service can take of one."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from app.inbox.token_bucket import BURST, REFILL_PER_SECOND, TokenBuckets

ACCOUNT, OTHER = UUID(int=1), UUID(int=2)


@given(st.lists(st.tuples(st.sampled_from([ACCOUNT, OTHER]), st.floats(0, 5)), max_size=60))
def test_nobody_ever_says_more_than_at_once_and_what_has_grown_since(arrivals: list[tuple[UUID, float]]) -> None:
    now = [0.0]
    limited = TokenBuckets(lambda: now[0])
    allowed = {ACCOUNT: 0, OTHER: 0}
    for account_id, pause in arrivals:
        now[0] += pause
        for _ in range(400):
            allowed[account_id] += limited.allows(account_id)
    for many in allowed.values():
        assert many <= BURST + now[0] * REFILL_PER_SECOND + 1


def test_what_one_account_says_counts_for_no_other() -> None:
    limited = TokenBuckets(lambda: 0.0)
    assert all(limited.allows(ACCOUNT) for _ in range(BURST))
    assert not limited.allows(ACCOUNT)
    assert limited.allows(OTHER)


def test_who_has_been_quiet_for_long_is_forgotten_and_may_say_everything_again() -> None:
    now = [0.0]
    limited = TokenBuckets(lambda: now[0])
    for _ in range(100):
        assert limited.allows(uuid4())
    now[0] = 1_000.0
    for _ in range(101):
        limited.allows(ACCOUNT)
    assert len(limited._buckets) == 1
