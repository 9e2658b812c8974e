"""Reports about instances give the same state of the event, in any order and number."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.meetings.instance_rules import EventLiveState, InstanceTimes, summarize
from tests.support.service import RunningService
from tests.support.steps import DELETE, get_event, notify, only_meeting, outbox, rsvp, zoom_calls, zoom_meetings

STARTS = datetime(2027, 3, 1, 19, 0, tzinfo=UTC)
offsets = st.integers(-300, 300).map(lambda minutes: STARTS + timedelta(minutes=minutes))


@st.composite
def histories(draw: st.DrawFn) -> list[InstanceTimes]:
    """Runs one after the other, as a meeting has them; only the last may still be open."""
    moments = sorted(draw(st.lists(offsets, min_size=1, max_size=8, unique=True)))
    pairs = [moments[index : index + 2] for index in range(0, len(moments), 2)]
    return [InstanceTimes(pair[0], pair[1] if len(pair) == 2 else None) for pair in pairs]


@given(histories(), st.randoms())
def test_the_order_in_which_holdings_are_known_does_not_matter(history: list[InstanceTimes], dice: object) -> None:
    shuffled = list(history)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types its Random as an object
    assert summarize(shuffled, STARTS) == summarize(history, STARTS)
    assert summarize([*shuffled, *history], STARTS) == summarize(history, STARTS)


@given(histories())
def test_an_open_holding_makes_it_live_and_nothing_else_does(history: list[InstanceTimes]) -> None:
    state = summarize(history, STARTS)
    assert state.live_at == (history[-1].started_at if history[-1].ended_at is None else None)
    assert state.live_at is None or state.ended_at is None


@given(histories())
def test_a_holding_that_ended_before_the_start_counts_for_nothing(history: list[InstanceTimes]) -> None:
    rehearsals = [times for times in history if times.ended_at and times.ended_at < STARTS]
    assert summarize(rehearsals, STARTS) == EventLiveState(None, None)


@given(histories())
def test_a_lost_end_is_known_by_the_next_start(history: list[InstanceTimes]) -> None:
    lost = [InstanceTimes(times.started_at, None) for times in history[:-1]]
    assert summarize([*lost, history[-1]], STARTS).live_at == summarize(history, STARTS).live_at


@given(histories(), st.data())
def test_what_is_learned_later_of_one_holding_makes_no_other(history: list[InstanceTimes], data: st.DataObject) -> None:
    """A late end of a run that was over anyway, because the next had begun, is no further run."""
    counting = [times for times in history if times.ended_at is None or times.ended_at >= STARTS]
    lost = [InstanceTimes(each.started_at, data.draw(st.sampled_from([each.ended_at, None]))) for each in counting[:-1]]
    ended_runs = summarize([*lost, *counting[-1:]], STARTS).ended_runs
    assert ended_runs == summarize(counting, STARTS).ended_runs == sum(each.ended_at is not None for each in counting)


async def test_started_and_ended_in_any_order_and_repeated(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    meeting = await only_meeting(service)
    begun = datetime.fromisoformat(event["starts_at"])
    times = {"start_time": stamp(begun), "end_time": stamp(begun + timedelta(minutes=50))}
    await service.advance_clock(begun + timedelta(minutes=51) - service.clock.now())
    await notify(service, meeting, "meeting.ended", "uuid-1==", **times)
    assert (await get_event(service, event))["status"] == "ended"
    await notify(service, meeting, "meeting.started", "uuid-1==", start_time=times["start_time"])
    await notify(service, meeting, "meeting.ended", "uuid-1==", **times)
    assert (await get_event(service, event))["status"] == "ended"


async def test_a_rehearsal_leaves_the_event_scheduled_and_a_new_instance_reopens_it(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    number = event["zoom"]["meeting_id"]
    for step, status in (("start", "live"), ("end", "scheduled")):
        (await service.zoom.post(f"/simulator/meetings/{number}/{step}")).raise_for_status()
        await service.wait_idle()
        assert (await get_event(service, event))["status"] == status
    await service.advance_clock(datetime.fromisoformat(event["starts_at"]) - service.clock.now() + timedelta(minutes=1))
    for step, status in (("start", "live"), ("end", "ended"), ("start", "live"), ("end", "ended")):
        (await service.zoom.post(f"/simulator/meetings/{number}/{step}")).raise_for_status()
        await service.wait_idle()
        assert (await get_event(service, event))["status"] == status


async def test_cancelled_while_live_nobody_joins_and_the_delete_is_repeated_after_the_end(
    service: RunningService,
) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    number = event["zoom"]["meeting_id"]
    (await service.zoom.post(f"/simulator/meetings/{number}/start")).raise_for_status()
    await service.wait_idle()
    (await service.post("admin", f"/api/events/{event['id']}/cancel")).raise_for_status()
    refused = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (410, "event-cancelled")
    await service.wait_idle()
    assert [call["status"] for call in await zoom_calls(service, DELETE)] == [400]
    (await service.zoom.post(f"/simulator/meetings/{number}/end")).raise_for_status()
    await service.wait_idle()
    assert await zoom_meetings(service) == []
    assert (await get_event(service, event))["status"] == "cancelled"
    assert await outbox(service, "meetings.delete") == []


def stamp(moment: datetime) -> str:
    """Return a time in Zoom's format."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
