"""What Zoom says of instances, in any order and number, folds into one truth about the event."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.meetings.instances import Folded, Holding, fold
from tests.living import Living
from tests.meetings.house import DELETE, at_zoom, calls, notify, outbox, rsvp, seen, the_meeting

STARTS = datetime(2027, 3, 1, 19, 0, tzinfo=UTC)
offsets = st.integers(-300, 300).map(lambda minutes: STARTS + timedelta(minutes=minutes))


@st.composite
def histories(draw: st.DrawFn) -> list[Holding]:
    """Holdings one after the other, as a meeting has them; only the last may still be open."""
    moments = sorted(draw(st.lists(offsets, min_size=1, max_size=8, unique=True)))
    pairs = [moments[index : index + 2] for index in range(0, len(moments), 2)]
    return [Holding(pair[0], pair[1] if len(pair) == 2 else None) for pair in pairs]


@given(histories(), st.randoms())
def test_the_order_in_which_holdings_are_known_does_not_matter(history: list[Holding], dice: object) -> None:
    shuffled = list(history)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types its Random as an object
    assert fold(shuffled, STARTS) == fold(history, STARTS)
    assert fold([*shuffled, *history], STARTS) == fold(history, STARTS)


@given(histories())
def test_an_open_holding_makes_it_live_and_nothing_else_does(history: list[Holding]) -> None:
    folded = fold(history, STARTS)
    assert folded.live_at == (history[-1].started_at if history[-1].ended_at is None else None)
    assert folded.live_at is None or folded.ended_at is None


@given(histories())
def test_a_holding_that_ended_before_the_start_counts_for_nothing(history: list[Holding]) -> None:
    rehearsals = [holding for holding in history if holding.ended_at and holding.ended_at < STARTS]
    assert fold(rehearsals, STARTS) == Folded(None, None)


@given(histories())
def test_a_lost_end_is_known_by_the_next_start(history: list[Holding]) -> None:
    lost = [Holding(holding.started_at, None) for holding in history[:-1]]
    assert fold([*lost, history[-1]], STARTS).live_at == fold(history, STARTS).live_at


@given(histories(), st.data())
def test_what_is_learned_later_of_one_holding_makes_no_other(history: list[Holding], data: st.DataObject) -> None:
    """An end that is heard late, of what was over anyway as the next had begun, is no further holding."""
    counting = [holding for holding in history if holding.ended_at is None or holding.ended_at >= STARTS]
    lost = [Holding(each.started_at, data.draw(st.sampled_from([each.ended_at, None]))) for each in counting[:-1]]
    told = fold([*lost, *counting[-1:]], STARTS).holdings
    assert told == fold(counting, STARTS).holdings == sum(each.ended_at is not None for each in counting)


async def test_started_and_ended_in_any_order_and_repeated(living: Living) -> None:
    await living.connect()
    event = await living.event()
    meeting = await the_meeting(living)
    begun = datetime.fromisoformat(event["starts_at"])
    times = {"start_time": stamp(begun), "end_time": stamp(begun + timedelta(minutes=50))}
    await living.forward(begun + timedelta(minutes=51) - living.clock.now())
    await notify(living, meeting, "meeting.ended", "uuid-1==", **times)
    assert (await seen(living, event))["status"] == "ended"
    await notify(living, meeting, "meeting.started", "uuid-1==", start_time=times["start_time"])
    await notify(living, meeting, "meeting.ended", "uuid-1==", **times)
    assert (await seen(living, event))["status"] == "ended"


async def test_a_rehearsal_leaves_the_event_scheduled_and_a_new_instance_reopens_it(living: Living) -> None:
    await living.connect()
    event = await living.event()
    number = event["zoom"]["meeting_id"]
    for step, status in (("start", "live"), ("end", "scheduled")):
        (await living.zoom.post(f"/simulator/meetings/{number}/{step}")).raise_for_status()
        await living.quiet()
        assert (await seen(living, event))["status"] == status
    await living.forward(datetime.fromisoformat(event["starts_at"]) - living.clock.now() + timedelta(minutes=1))
    for step, status in (("start", "live"), ("end", "ended"), ("start", "live"), ("end", "ended")):
        (await living.zoom.post(f"/simulator/meetings/{number}/{step}")).raise_for_status()
        await living.quiet()
        assert (await seen(living, event))["status"] == status


async def test_cancelled_while_live_the_door_shuts_and_the_delete_is_repeated_after_the_end(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    number = event["zoom"]["meeting_id"]
    (await living.zoom.post(f"/simulator/meetings/{number}/start")).raise_for_status()
    await living.quiet()
    (await living.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    refused = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (410, "event-cancelled")
    await living.quiet()
    assert [call["status"] for call in await calls(living, DELETE)] == [400]
    (await living.zoom.post(f"/simulator/meetings/{number}/end")).raise_for_status()
    await living.quiet()
    assert await at_zoom(living) == []
    assert (await seen(living, event))["status"] == "cancelled"
    assert await outbox(living, "meetings.retire") == []


def stamp(moment: datetime) -> str:
    """As Zoom writes a time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
