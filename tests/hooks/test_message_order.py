"""Hooks announce all that happened to an event in order, however late or mixed up it was noticed or sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.job_runner import JobTable
from app.devstack.mailbox import Mailbox
from app.hooks.event_transitions import AnnouncedState, transitions
from app.jobs import JOBS
from app.worker import Worker
from tests.hooks.receiver import Receiver
from tests.hooks.test_hooks import BASE, answer_rsvp, create_hook, list_messages, send_test
from tests.scenarios.security.fixtures import run_worker_until_idle
from tests.support.service import COMMUNITY, RunningService, run_service
from tests.support.steps import cancel, notify, only_meeting
from tests.support.timeouts import TIMEOUT

LIVE, ENDED, MISSING, FINAL = "event.live", "event.ended", "event.host_missing", "attendance.final"
OF_EVENTS = (LIVE, ENDED, MISSING, FINAL)
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
states = st.builds(
    AnnouncedState, st.booleans(), st.integers(0, 4), st.sampled_from([None, NOON, NOON + timedelta(hours=1)])
)


@given(st.lists(states, min_size=1, max_size=8))
def test_an_event_goes_live_and_ends_in_turn_and_nothing_is_told_twice(history: list[AnnouncedState]) -> None:
    announced = AnnouncedState(False, 0, None)
    kinds: list[str] = []
    for current in history:
        kinds += transitions(announced, current)
        assert transitions(current, current) == []
        announced = current
    turns = [kind for kind in kinds if kind != MISSING]
    assert turns[::2] == [LIVE] * len(turns[::2])
    assert turns[1::2] == [ENDED] * len(turns[1::2])
    assert (len(turns) % 2 == 1) == announced.live


@given(states, states)
def test_a_further_run_that_is_over_is_told_live_and_ended(announced: AnnouncedState, current: AnnouncedState) -> None:
    if current.ended_runs > announced.ended_runs:
        assert ENDED in transitions(announced, current)
        assert announced.live or LIVE in transitions(announced, current)


@pytest.fixture
async def idle(
    database_url: str, redis_url: str, mailbox: Mailbox, receiver: Receiver
) -> AsyncIterator[RunningService]:
    """The service without a worker; its hooks reach the receiver."""
    async with run_service(database_url, redis_url, mailbox, worker=False, hooks=receiver.hooks) as service:
        yield service


def received_kinds(receiver: Receiver, path: str = "/hook") -> list[str]:
    """Return the kinds received on a path, in order; a message that was sent again counts where it first came."""
    return [
        message.json["type"]
        for message in {message.id: message for message in reversed(receiver.received_on(path))}.values()
    ][::-1]


async def running_event(service: RunningService, receiver: Receiver, *kinds: str) -> tuple[Any, Any]:
    """Return an event that began a minute ago, and its meeting; a hook subscribes to these kinds.

    By default it subscribes to all kinds about events.
    """
    await service.connect()
    await create_hook(service, receiver.url(), *(kinds or OF_EVENTS))
    event = await service.create_event()
    await advance_to_minute(service, event, 1)
    return event, await only_meeting(service)


async def advance_to_minute(service: RunningService, event: Any, minute: float) -> None:
    """Advance to so many minutes after the event's start, and do what became due."""
    await service.advance_clock(minute_of(event, minute) - service.clock.now())
    await service.wait_idle()


def minute_of(event: Any, minute: float) -> datetime:
    """Return a minute of the event as a time."""
    return datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minute)


def zoom_time(moment: datetime) -> str:
    """Return a time as Zoom writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def notify_instance(
    service: RunningService, event: Any, meeting: Any, what: str, uuid: str, began: float, over: float
) -> None:
    """Send Zoom's notification of the start or the end of an instance."""
    times = {"start_time": zoom_time(minute_of(event, began))}
    if what == "ended":
        times["end_time"] = zoom_time(minute_of(event, over))
    await notify(service, meeting, f"meeting.{what}", uuid, **times)


@pytest.mark.parametrize(
    "order", [("started", "ended"), ("ended", "started"), ("ended",), ("ended", "ended", "started", "started")]
)
async def test_a_meeting_of_a_few_seconds_is_told_live_and_ended_in_any_order(
    service: RunningService, receiver: Receiver, order: Sequence[str]
) -> None:
    event, meeting = await running_event(service, receiver)
    for what in order:
        await notify_instance(service, event, meeting, what, "uuid-1==", 0.5, 0.55)
    assert received_kinds(receiver) == [LIVE, ENDED]
    assert {got.json["data"]["event_id"] for got in receiver.received_on()} == {event["id"]}


async def test_every_run_of_a_few_seconds_is_told(service: RunningService, receiver: Receiver) -> None:
    event, meeting = await running_event(service, receiver, LIVE, ENDED)
    await advance_to_minute(service, event, 30)
    for number in range(3):
        for what in ("ended", "started"):
            await notify_instance(service, event, meeting, what, f"uuid-{number}==", 5 * number, 5 * number + 0.1)
    assert received_kinds(receiver) == [LIVE, ENDED] * 3


async def test_the_late_end_of_an_earlier_run_is_no_further_one(service: RunningService, receiver: Receiver) -> None:
    event, meeting = await running_event(service, receiver)
    await notify_instance(service, event, meeting, "started", "uuid-1==", 0, 0)
    await advance_to_minute(service, event, 30)
    await notify_instance(service, event, meeting, "started", "uuid-2==", 20, 0)
    await notify_instance(service, event, meeting, "ended", "uuid-2==", 20, 29)
    before = received_kinds(receiver)
    await notify_instance(service, event, meeting, "ended", "uuid-1==", 0, 10)
    assert received_kinds(receiver) == before
    assert before == [LIVE, ENDED, LIVE, ENDED]


@contextlib.asynccontextmanager
async def worker_without_hook_jobs(service: RunningService) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run a worker without the jobs that create messages, so that they wait.

    Yields a function that waits until all other jobs are done.
    """
    remaining = {
        fact: [each for each in all_ if not creates_hook_messages(each.job.name)]
        for fact, all_ in JOBS.subscriptions.items()
    }
    worker = asyncio.create_task(
        Worker(service.resources, JobTable(remaining, JOBS.periodic, JOBS.concurrency)).run(), name="worker"
    )

    async def wait_idle() -> None:
        async with asyncio.timeout(TIMEOUT):
            while not all(creates_hook_messages(row["job"]) for row in await service.due_jobs()):  # noqa: ASYNC110 - nothing notifies
                await asyncio.sleep(0.02)

    try:
        yield wait_idle
    finally:
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker


def creates_hook_messages(job: str) -> bool:
    """Return whether a job creates messages for the platform."""
    return job.startswith("hooks.create")


@pytest.mark.parametrize("order", [("started", "ended"), ("ended", "started")])
async def test_whoever_tells_late_tells_of_all_in_order(
    idle: RunningService, receiver: Receiver, order: Sequence[str]
) -> None:
    """While no job creates messages, the host is missing, comes and leaves, and the attendance becomes final."""
    async with run_worker_until_idle(idle):
        event, meeting = await running_event(idle, receiver)
    async with worker_without_hook_jobs(idle) as wait_idle:
        await idle.advance_clock(minute_of(event, 6) - idle.clock.now())
        await wait_idle()
        for what in order:
            times = {"start_time": zoom_time(minute_of(event, 6)), "end_time": zoom_time(minute_of(event, 7))}
            about = {"id": str(meeting["id"]), "uuid": "uuid-1==", "host_id": meeting["host_id"]} | times
            body = {"event": f"meeting.{what}", "account_id": meeting["account_id"], "payload": {"object": about}}
            (await idle.zoom.post("/simulator/notifications", json=body)).raise_for_status()
            await wait_idle()
        await idle.advance_clock(timedelta(hours=8))
        await wait_idle()
    waiting = {row["job"] for row in await idle.due_jobs()}
    assert waiting == {"hooks.create_event_messages", "hooks.create_attendance_messages"}
    async with run_worker_until_idle(idle):
        await idle.wait_idle()
    assert received_kinds(receiver) == [MISSING, LIVE, ENDED, FINAL]


async def test_who_was_told_that_it_is_live_is_told_that_it_ended_though_it_was_deleted(
    service: RunningService, receiver: Receiver
) -> None:
    event, meeting = await running_event(service, receiver)
    await notify_instance(service, event, meeting, "started", "uuid-1==", 0, 0)
    assert (await service.call("admin", "DELETE", f"/api/events/{event['id']}")).status_code == 204
    await service.wait_idle()
    await notify_instance(service, event, meeting, "ended", "uuid-1==", 0, 5)
    assert received_kinds(receiver) == [LIVE, ENDED]
    assert receiver.received_on()[-1].json["data"]["status"] == "cancelled"


async def test_a_cancelled_event_is_told_neither_live_nor_ended(service: RunningService, receiver: Receiver) -> None:
    event, meeting = await running_event(service, receiver)
    await cancel(service, event)
    for what in ("ended", "started"):
        await notify_instance(service, event, meeting, what, "uuid-1==", 0.5, 0.55)
    assert received_kinds(receiver) == []


async def test_what_comes_after_a_message_that_is_tried_again_waits_for_it(
    service: RunningService, receiver: Receiver
) -> None:
    event, meeting = await running_event(service, receiver)
    receiver.statuses["/hook"] = 503
    await notify_instance(service, event, meeting, "started", "uuid-1==", 0, 0)
    await notify_instance(service, event, meeting, "ended", "uuid-1==", 0, 0.5)
    assert received_kinds(receiver) == [LIVE]
    await service.advance_clock(timedelta(seconds=7))
    await service.wait_idle()
    assert received_kinds(receiver) == [LIVE]
    receiver.statuses["/hook"] = 204
    await service.advance_clock(timedelta(minutes=7))
    await service.wait_idle()
    assert [got.json["type"] for got in receiver.received_on()] == [LIVE, LIVE, LIVE, ENDED]
    rows = await service.resources.db.pool.fetch("SELECT state FROM hook_messages")
    assert {row["state"] for row in rows} == {"delivered"}
    assert await service.resources.db.pool.fetchval("SELECT count(*) FROM outbox WHERE job = 'hooks.send'") == 0


async def test_what_comes_after_a_message_that_was_given_up_is_sent(
    service: RunningService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.hooks.retry_schedule.RETRY_DELAYS", (timedelta(seconds=5),))
    event, meeting = await running_event(service, receiver)
    receiver.statuses["/hook"] = 503
    await notify_instance(service, event, meeting, "started", "uuid-1==", 0, 0)
    await notify_instance(service, event, meeting, "ended", "uuid-1==", 0, 0.5)
    await service.advance_clock(timedelta(seconds=10))
    await service.wait_idle()
    assert received_kinds(receiver) == [LIVE, ENDED]


async def test_other_subjects_and_other_hooks_do_not_wait(service: RunningService, receiver: Receiver) -> None:
    event, meeting = await running_event(service, receiver)
    other = await create_hook(service, receiver.url("/other"), *OF_EVENTS, "registration.changed")
    receiver.statuses["/hook"] = 503
    await notify_instance(service, event, meeting, "started", "uuid-1==", 0, 0)
    await notify_instance(service, event, meeting, "ended", "uuid-1==", 0, 0.5)
    assert received_kinds(receiver, "/other") == [LIVE, ENDED]
    receiver.statuses["/other"] = 503
    later_event = await service.create_event()
    await answer_rsvp(service, later_event, "going")
    await answer_rsvp(service, later_event, "not_going")
    await answer_rsvp(service, later_event, "going", "member2")
    rsvps = [(got.json["data"]["member_id"], got.json["data"]["rsvp"]) for got in receiver.received_on("/other")[2:]]
    assert rsvps == [("m-member", "going"), ("m-member2", "going")]
    await send_test(service, other)
    await send_test(service, other)
    assert received_kinds(receiver, "/other")[-2:] == ["hook.test"] * 2


async def test_answers_of_one_member_arrive_in_the_order_they_were_given(
    service: RunningService, receiver: Receiver
) -> None:
    await service.connect()
    await create_hook(service, receiver.url(), "registration.changed")
    event = await service.create_event()
    receiver.statuses["/hook"] = 503
    for status in ("going", "not_going", "maybe"):
        await answer_rsvp(service, event, status)
    receiver.statuses["/hook"] = 204
    await service.advance_clock(timedelta(minutes=7))
    await service.wait_idle()
    statuses = [got.json["data"]["rsvp"] for got in receiver.received_on()]
    assert [status for status, after in pairwise([*statuses, ""]) if status != after] == ["going", "not_going", "maybe"]


async def test_what_is_sent_again_by_hand_waits_for_nobody_who_has_arrived(
    service: RunningService, receiver: Receiver
) -> None:
    event, meeting = await running_event(service, receiver)
    await notify_instance(service, event, meeting, "started", "uuid-1==", 0, 0)
    await notify_instance(service, event, meeting, "ended", "uuid-1==", 0, 0.5)
    hook = (await service.get("admin", BASE)).json()["items"][0]
    first = (await list_messages(service, hook))[-1]
    answer = await service.post("admin", f"{BASE}/{hook['id']}/redeliver", {"message_id": first["message_id"]})
    assert answer.status_code == 202
    await service.wait_idle()
    assert [got.json["type"] for got in receiver.received_on()] == [LIVE, ENDED, LIVE]
    assert COMMUNITY["id"] == receiver.received_on()[0].json["data"]["community_id"]
