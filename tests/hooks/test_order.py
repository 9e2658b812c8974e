"""Hooks of one event tell all that happened, in order, however late, doubled or mixed up it was noticed or sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.work import Reactions
from app.demo.mailbox import Mailbox
from app.hooks.news import Standing, news
from app.reactions import TABLE
from app.worker import Station
from tests.hooks.receiver import Receiver
from tests.hooks.test_hooks import BASE, listed, made, rsvp, tried
from tests.living import COMMUNITY, Living, alive
from tests.meetings.house import cancel, notify, the_meeting
from tests.patience import PATIENCE
from tests.safety.scene import working

LIVE, ENDED, MISSING, FINAL = "event.live", "event.ended", "event.host_missing", "attendance.final"
OF_EVENTS = (LIVE, ENDED, MISSING, FINAL)
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
standings = st.builds(
    Standing, st.booleans(), st.integers(0, 4), st.sampled_from([None, NOON, NOON + timedelta(hours=1)])
)


@given(st.lists(standings, min_size=1, max_size=8))
def test_an_event_goes_live_and_ends_in_turn_and_nothing_is_told_twice(history: list[Standing]) -> None:
    told, kinds = Standing(False, 0, None), list[str]()
    for now in history:
        kinds += news(told, now)
        assert news(now, now) == []
        told = now
    turns = [kind for kind in kinds if kind != MISSING]
    assert turns[::2] == [LIVE] * len(turns[::2])
    assert turns[1::2] == [ENDED] * len(turns[1::2])
    assert (len(turns) % 2 == 1) == told.live


@given(standings, standings)
def test_a_further_holding_that_is_over_is_told_live_and_ended(told: Standing, now: Standing) -> None:
    if now.holdings > told.holdings:
        assert ENDED in news(told, now)
        assert told.live or LIVE in news(told, now)


@pytest.fixture
async def idle(database_url: str, redis_url: str, mailbox: Mailbox, receiver: Receiver) -> AsyncIterator[Living]:
    """The service without a worker; its hooks reach the receiver."""
    async with alive(database_url, redis_url, mailbox, worker=False, hooks=receiver.hooks) as living:
        yield living


def types(receiver: Receiver, path: str = "/hook") -> list[str]:
    """The kinds that arrived on a path, in order; what was sent again stands where it first came."""
    return [got.said["type"] for got in {got.id: got for got in reversed(receiver.of(path))}.values()][::-1]


async def evening(living: Living, receiver: Receiver, *kinds: str) -> tuple[Any, Any]:
    """An event that began a minute ago, and its meeting; the hook asked for all kinds about events."""
    await living.connect()
    await made(living, receiver.url(), *(kinds or OF_EVENTS))
    event = await living.event()
    await on_to(living, event, 1)
    return event, await the_meeting(living)


async def on_to(living: Living, event: Any, minute: float) -> None:
    """So many minutes after the event's start, with everything done that was due."""
    await living.forward(at(event, minute) - living.clock.now())
    await living.quiet()


def at(event: Any, minute: float) -> datetime:
    """A moment of the event."""
    return datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minute)


def stamp(moment: datetime) -> str:
    """A moment as Zoom writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def told(living: Living, event: Any, meeting: Any, what: str, uuid: str, began: float, over: float) -> None:
    """Zoom tells of the start or the end of an instance."""
    times = {"start_time": stamp(at(event, began))}
    if what == "ended":
        times["end_time"] = stamp(at(event, over))
    await notify(living, meeting, f"meeting.{what}", uuid, **times)


@pytest.mark.parametrize(
    "order", [("started", "ended"), ("ended", "started"), ("ended",), ("ended", "ended", "started", "started")]
)
async def test_a_meeting_of_a_few_seconds_is_told_live_and_ended_in_any_order(
    living: Living, receiver: Receiver, order: Sequence[str]
) -> None:
    event, meeting = await evening(living, receiver)
    for what in order:
        await told(living, event, meeting, what, "uuid-1==", 0.5, 0.55)
    assert types(receiver) == [LIVE, ENDED]
    assert {got.said["data"]["event_id"] for got in receiver.of()} == {event["id"]}


async def test_every_holding_of_a_few_seconds_is_told(living: Living, receiver: Receiver) -> None:
    event, meeting = await evening(living, receiver, LIVE, ENDED)
    await on_to(living, event, 30)
    for number in range(3):
        for what in ("ended", "started"):
            await told(living, event, meeting, what, f"uuid-{number}==", 5 * number, 5 * number + 0.1)
    assert types(receiver) == [LIVE, ENDED] * 3


async def test_the_late_end_of_an_earlier_holding_is_no_further_one(living: Living, receiver: Receiver) -> None:
    event, meeting = await evening(living, receiver)
    await told(living, event, meeting, "started", "uuid-1==", 0, 0)
    await on_to(living, event, 30)
    await told(living, event, meeting, "started", "uuid-2==", 20, 0)
    await told(living, event, meeting, "ended", "uuid-2==", 20, 29)
    before = types(receiver)
    await told(living, event, meeting, "ended", "uuid-1==", 0, 10)
    assert types(receiver) == before
    assert before == [LIVE, ENDED, LIVE, ENDED]


@contextlib.asynccontextmanager
async def telling_nobody(living: Living) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A worker that knows no job that tells of anything, so that what is to be told waits; gives how to wait until all
    else is done."""
    kept = {fact: [each for each in all_ if not tells(each.reaction.name)] for fact, all_ in TABLE.facts.items()}
    station = asyncio.create_task(Station(living.held, Reactions(kept, TABLE.sweeps, TABLE.caps)).run(), name="worker")

    async def rest() -> None:
        async with asyncio.timeout(PATIENCE):
            while not all(tells(row["reaction"]) for row in await living.pending()):  # noqa: ASYNC110 - nobody rings
                await asyncio.sleep(0.02)

    try:
        yield rest
    finally:
        station.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await station


def tells(reaction: str) -> bool:
    """Whether a job makes messages for the platform."""
    return reaction.startswith("hooks.tell")


@pytest.mark.parametrize("order", [("started", "ended"), ("ended", "started")])
async def test_whoever_tells_late_tells_of_all_in_order(idle: Living, receiver: Receiver, order: Sequence[str]) -> None:
    """While nobody tells the host is missed, comes and goes, and the attendance is settled."""
    async with working(idle):
        event, meeting = await evening(idle, receiver)
    async with telling_nobody(idle) as rest:
        await idle.forward(at(event, 6) - idle.clock.now())
        await rest()
        for what in order:
            times = {"start_time": stamp(at(event, 6)), "end_time": stamp(at(event, 7))}
            about = {"id": str(meeting["id"]), "uuid": "uuid-1==", "host_id": meeting["host_id"]} | times
            body = {"event": f"meeting.{what}", "account_id": meeting["account_id"], "payload": {"object": about}}
            (await idle.zoom.post("/simulator/notifications", json=body)).raise_for_status()
            await rest()
        await idle.forward(timedelta(hours=8))
        await rest()
    waiting = {row["reaction"] for row in await idle.pending()}
    assert waiting == {"hooks.tell_event", "hooks.tell_attendance"}
    async with working(idle):
        await idle.quiet()
    assert types(receiver) == [MISSING, LIVE, ENDED, FINAL]


async def test_who_was_told_that_it_is_live_is_told_that_it_ended_though_it_was_deleted(
    living: Living, receiver: Receiver
) -> None:
    event, meeting = await evening(living, receiver)
    await told(living, event, meeting, "started", "uuid-1==", 0, 0)
    assert (await living.call("admin", "DELETE", f"/api/events/{event['id']}")).status_code == 204
    await living.quiet()
    await told(living, event, meeting, "ended", "uuid-1==", 0, 5)
    assert types(receiver) == [LIVE, ENDED]
    assert receiver.of()[-1].said["data"]["status"] == "cancelled"


async def test_a_cancelled_event_is_told_neither_live_nor_ended(living: Living, receiver: Receiver) -> None:
    event, meeting = await evening(living, receiver)
    await cancel(living, event)
    for what in ("ended", "started"):
        await told(living, event, meeting, what, "uuid-1==", 0.5, 0.55)
    assert types(receiver) == []


async def test_what_comes_after_a_message_that_is_tried_again_waits_for_it(living: Living, receiver: Receiver) -> None:
    event, meeting = await evening(living, receiver)
    receiver.answers["/hook"] = 503
    await told(living, event, meeting, "started", "uuid-1==", 0, 0)
    await told(living, event, meeting, "ended", "uuid-1==", 0, 0.5)
    assert types(receiver) == [LIVE]
    await living.forward(timedelta(seconds=7))
    await living.quiet()
    assert types(receiver) == [LIVE]
    receiver.answers["/hook"] = 204
    await living.forward(timedelta(minutes=7))
    await living.quiet()
    assert [got.said["type"] for got in receiver.of()] == [LIVE, LIVE, LIVE, ENDED]
    rows = await living.held.db.hot.fetch("SELECT state FROM hook_messages")
    assert {row["state"] for row in rows} == {"delivered"}
    assert await living.held.db.hot.fetchval("SELECT count(*) FROM outbox WHERE reaction = 'hooks.send'") == 0


async def test_what_comes_after_a_message_that_was_given_up_is_sent(
    living: Living, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.hooks.schedule.PAUSES", (timedelta(seconds=5),))
    event, meeting = await evening(living, receiver)
    receiver.answers["/hook"] = 503
    await told(living, event, meeting, "started", "uuid-1==", 0, 0)
    await told(living, event, meeting, "ended", "uuid-1==", 0, 0.5)
    await living.forward(timedelta(seconds=10))
    await living.quiet()
    assert types(receiver) == [LIVE, ENDED]


async def test_other_subjects_and_other_hooks_do_not_wait(living: Living, receiver: Receiver) -> None:
    event, meeting = await evening(living, receiver)
    other = await made(living, receiver.url("/other"), *OF_EVENTS, "registration.changed")
    receiver.answers["/hook"] = 503
    await told(living, event, meeting, "started", "uuid-1==", 0, 0)
    await told(living, event, meeting, "ended", "uuid-1==", 0, 0.5)
    assert types(receiver, "/other") == [LIVE, ENDED]
    receiver.answers["/other"] = 503
    later_event = await living.event()
    await rsvp(living, later_event, "going")
    await rsvp(living, later_event, "not_going")
    await rsvp(living, later_event, "going", "member2")
    said = [(got.said["data"]["member_id"], got.said["data"]["rsvp"]) for got in receiver.of("/other")[2:]]
    assert said == [("m-member", "going"), ("m-member2", "going")]
    await tried(living, other)
    await tried(living, other)
    assert types(receiver, "/other")[-2:] == ["hook.test"] * 2


async def test_answers_of_one_member_arrive_in_the_order_they_were_given(living: Living, receiver: Receiver) -> None:
    await living.connect()
    await made(living, receiver.url(), "registration.changed")
    event = await living.event()
    receiver.answers["/hook"] = 503
    for status in ("going", "not_going", "maybe"):
        await rsvp(living, event, status)
    receiver.answers["/hook"] = 204
    await living.forward(timedelta(minutes=7))
    await living.quiet()
    said = [got.said["data"]["rsvp"] for got in receiver.of()]
    assert [status for status, after in pairwise([*said, ""]) if status != after] == ["going", "not_going", "maybe"]


async def test_what_is_sent_again_by_hand_waits_for_nobody_who_has_arrived(living: Living, receiver: Receiver) -> None:
    event, meeting = await evening(living, receiver)
    await told(living, event, meeting, "started", "uuid-1==", 0, 0)
    await told(living, event, meeting, "ended", "uuid-1==", 0, 0.5)
    hook = (await living.get("admin", BASE)).json()["items"][0]
    first = (await listed(living, hook))[-1]
    answer = await living.post("admin", f"{BASE}/{hook['id']}/redeliver", {"message_id": first["message_id"]})
    assert answer.status_code == 202
    await living.quiet()
    assert [got.said["type"] for got in receiver.of()] == [LIVE, ENDED, LIVE]
    assert COMMUNITY["id"] == receiver.of()[0].said["data"]["community_id"]
