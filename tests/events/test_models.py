"""The state of an event follows one rule, and the SQL filter of lists follows the same rule."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import select

from app.events.models import END_GRACE, Event, status, status_sql
from tests.events.conftest import World

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
near = st.integers(-4, 4).map(lambda steps: NOW + timedelta(minutes=5 * steps))
maybe = st.none() | near
TICK = timedelta(microseconds=1)


@given(st.booleans(), maybe, maybe, near)
@example(cancelled=False, live_at=None, ended_at=None, ends_at=NOW - END_GRACE)
@example(cancelled=False, live_at=None, ended_at=None, ends_at=NOW - END_GRACE + TICK)
def test_cancelled_overrides_live_and_live_overrides_the_schedule(
    cancelled: bool, live_at: datetime | None, ended_at: datetime | None, ends_at: datetime
) -> None:
    state = status(cancelled=cancelled, live_at=live_at, ended_at=ended_at, ends_at=ends_at, now=NOW)
    assert (state == "cancelled") == cancelled
    assert (state == "live") == (not cancelled and live_at is not None)
    over = ended_at is not None or NOW - ends_at >= END_GRACE
    assert (state == "ended") == (not cancelled and live_at is None and over)
    assert state in {"scheduled", "live", "ended", "cancelled"}


async def test_the_database_says_the_same_of_every_event(world: World) -> None:
    times = [None, NOW - timedelta(hours=1), NOW + timedelta(hours=1)]
    ends = [NOW - END_GRACE - TICK, NOW - END_GRACE, NOW - END_GRACE + TICK, NOW, NOW + END_GRACE]
    async with world.db.transaction() as tx:
        for cancelled_at in times[:2]:
            for live_at in times:
                for ended_at in times:
                    for ends_at in ends:
                        tx.session.add(
                            Event(
                                id=uuid4(),
                                community_id=world.community,
                                kind="community_event",
                                title="Circle",
                                timezone="UTC",
                                is_virtual=False,
                                created_by="m_1",
                                created_at=NOW,
                                updated_at=NOW,
                                starts_at=ends_at - timedelta(hours=1),
                                ends_at=ends_at,
                                cancelled_at=cancelled_at,
                                live_at=live_at,
                                ended_at=ended_at,
                            )
                        )
    async with world.db.transaction() as tx:
        rows = (await tx.session.execute(select(Event, status_sql(NOW)))).all()
    assert len(rows) == 90
    assert [event.status(NOW) for event, _ in rows] == [state for _, state in rows]
    assert {state for _, state in rows} == {"scheduled", "live", "ended", "cancelled"}
