"""Everybody who may listen receives what happens live, in one order, and misses nothing."""

import asyncio
import contextlib
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.attendance.sessions import RECONNECT_GRACE
from app.live import event_log, hub, schemas, stream
from tests.support.attendance_steps import act_in_meeting, advance_to_minute, personal_link, send_notification
from tests.support.live_steps import event_at_start, live_event, open_stream, post_message, post_question
from tests.support.service import RunningService
from tests.support.steps import cancel, rsvp


def stream_path(event: dict[str, Any]) -> str:
    """Return the path of an event's stream."""
    return f"/api/events/{event['id']}/live"


async def test_a_meeting_is_followed_from_its_start_to_its_end(service: RunningService) -> None:
    event = await event_at_start(service, "member")
    link = {"join_url": await personal_link(service, event, "member")}
    async with open_stream(service, event) as mia:
        assert (mia.events[0].id, mia.events[0].data) == (0, {"status": "scheduled", "participants": 0})
        assert mia.response.headers["content-type"].startswith("text/event-stream")
        assert mia.response.headers["cache-control"] == "no-store"
        assert mia.response.headers["x-accel-buffering"] == "no"
        await act_in_meeting(service, event, "start", host_joins=False)
        assert (await mia.wait_for("state", 2)).data == {"status": "live", "participants": 0}
        await act_in_meeting(service, event, "join", **link)
        assert (await mia.wait_for("state", 3)).data == {"status": "live", "participants": 1}
        question = (await post_question(service, event, "Is there a recording?")).json()
        question_event = await mia.wait_for("question")
        assert question_event.data == {name: value for name, value in question.items() if name != "upvoted"}
        assert question_event.id == question["sequence"]
        upvoted = await service.call("member", "PUT", f"/api/questions/{question['id']}/upvote")
        assert (await mia.wait_for("upvote")).data == {"question_id": question["id"], "upvotes": 1}
        assert upvoted.json() == {"question_id": question["id"], "upvotes": 1, "upvoted": True}
        await service.post("admin", f"/api/questions/{question['id']}/answer", {"text": "Yes."})
        answered = (await mia.wait_for("answer")).data
        assert (answered["question_id"], answered["answer"]["text"]) == (question["id"], "Yes.")
        await act_in_meeting(service, event, "leave", **link)
        assert (await mia.wait_for("state", 4)).data == {"status": "live", "participants": 0}
        await service.get(
            "member", (await service.post("member", f"/api/events/{event['id']}/zoom-join")).json()["url"]
        )
        await advance_to_minute(service, event, 50)
        await act_in_meeting(service, event, "end")
        assert (await mia.wait_for("closed")).data == {"status": "ended"}
        assert mia.of_kind("state")[-1].data == {"status": "ended", "participants": 0}
        assert mia.ids == sorted(set(mia.ids)), "the numbers only grow"


async def test_news_arrive_without_anybody_looking(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(hub, "ACCESS_CHECK_SECONDS", 3600.0)
    event = await event_at_start(service, "member")
    async with open_stream(service, event) as mia:
        began = time.perf_counter()
        await act_in_meeting(service, event, "start", host_joins=False)
        await mia.wait_for("state", 2)
        print(f"from Zoom's start to the listener: {(time.perf_counter() - began) * 1000:.0f} ms")  # noqa: T201 - a figure
        await post_message(service, event, "Hello!")
        assert (await mia.wait_for("message")).data["text"] == "Hello!"


async def test_who_resumes_gets_exactly_what_was_missed(service: RunningService) -> None:
    event = await live_event(service, "member")
    async with open_stream(service, event) as mia:
        await post_message(service, event, "one")
        last_seen = await mia.wait_for("message")
    for text in ("two", "three", "four"):
        assert (await post_message(service, event, text)).status_code == 201
    async with open_stream(service, event, after=last_seen.id) as mia:
        await mia.wait_for("message", 3)
        assert mia.events[0].id == last_seen.id, "the state it begins with counts as nothing new"
        assert [each.data["text"] for each in mia.of_kind("message")] == ["two", "three", "four"]
        await post_message(service, event, "five")
        assert (await mia.wait_for("message", 4)).data["text"] == "five"
        assert mia.ids == sorted(mia.ids)
    by_query = await first_lines(service, event, {"since": str(last_seen.id)}, 4)
    assert next(each for each in by_query if each.startswith("id: ")) == f"id: {last_seen.id}"
    async with open_stream(service, event, after=10**12) as mia:
        assert mia.events[0].id == last_seen.id + 4, "a number of another log means nothing here"


async def test_of_the_states_that_were_missed_only_the_last_is_told(service: RunningService) -> None:
    event = await live_event(service, "member")
    async with open_stream(service, event) as mia:
        last_seen = mia.ids[-1]
    link = {"join_url": await personal_link(service, event, "member")}
    for what in ("join", "leave", "join"):
        await act_in_meeting(service, event, what, **link)
        await service.wait_idle()
        await post_message(service, event, what)
    async with open_stream(service, event, after=last_seen) as mia:
        await mia.wait_for("message", 3)
        assert [each.data["text"] for each in mia.of_kind("message")] == ["join", "leave", "join"]
        assert [each.data["participants"] for each in mia.of_kind("state")] == [1, 1], (
            "how it stands, and the last missed"
        )
        assert mia.ids == sorted(mia.ids)


async def test_of_too_many_streams_of_one_member_the_oldest_ends(service: RunningService) -> None:
    event = await live_event(service, "member", "member2")
    async with contextlib.AsyncExitStack() as stack:
        max_ = await stack.enter_async_context(open_stream(service, event, "member2"))
        mine = [await stack.enter_async_context(open_stream(service, event)) for _ in range(hub.MAX_STREAMS_PER_MEMBER)]
        await post_message(service, event, "Ten of me.")
        for listener in (max_, *mine):
            await listener.wait_for("message")
        await stack.enter_async_context(open_stream(service, event))
        await mine[0].wait_until(lambda each: each.ended)
        await post_message(service, event, "And one more.")
        for listener in (max_, *mine[1:]):
            await listener.wait_for("message", 2)


async def test_of_too_many_streams_of_one_member_the_oldest_ends_whatever_events_they_are_of(
    service: RunningService,
) -> None:
    event = await live_event(service, "member", "member2")
    others = [await service.create_event(delivery_mode="native") for _ in range(2)]
    for other in others:
        await rsvp(service, other, "member")
    async with contextlib.AsyncExitStack() as stack:
        max_ = await stack.enter_async_context(open_stream(service, event, "member2"))
        first = await stack.enter_async_context(open_stream(service, event))
        second = await stack.enter_async_context(open_stream(service, others[0]))
        for number in range(hub.MAX_STREAMS_PER_MEMBER - 1):
            await stack.enter_async_context(open_stream(service, others[number % 2]))
        await first.wait_until(lambda each: each.ended)
        assert not second.ended
        await stack.enter_async_context(open_stream(service, event))
        await second.wait_until(lambda each: each.ended)
        assert not max_.ended


async def first_lines(service: RunningService, event: dict[str, Any], params: dict[str, str], number: int) -> list[str]:
    """Return the first lines of a member's stream."""
    headers = {"Authorization": f"Bearer {service.platform.token('member', service.clock.now())}"}
    async with service.api.stream("GET", stream_path(event), params=params, headers=headers) as response:
        lines = []
        async for line in response.aiter_lines():
            lines.append(line)
            if len(lines) == number:
                break
        return lines


async def test_writers_at_once_are_heard_in_one_order_by_everybody(service: RunningService) -> None:
    event = await live_event(service, "member", "member2", "coach")
    writers = ("member", "member2", "coach", "admin", "owner")
    async with open_stream(service, event) as mia, open_stream(service, event, "member2") as max_:
        responses = await asyncio.gather(
            *(post_message(service, event, f"{who} {n}", who) for who in writers for n in range(12))
        )
        assert {answer.status_code for answer in responses} == {201}
        for listener in (mia, max_):
            await listener.wait_for("message", 60)
        assert [each.data for each in mia.of_kind("message")] == [each.data for each in max_.of_kind("message")]
        assert mia.ids == sorted(set(mia.ids))
        numbers = {answer.json()["sequence"] for answer in responses}
        assert numbers == {each.id for each in mia.of_kind("message")}
        assert len(numbers) == 60


async def test_what_is_deleted_disappears_live_and_is_told_to_nobody_again(service: RunningService) -> None:
    event = await live_event(service, "member", "member2")
    async with open_stream(service, event) as mia:
        secret = (await post_message(service, event, "my telephone number", "member2")).json()
        await mia.wait_for("message")
        assert (await service.call("admin", "DELETE", f"/api/messages/{secret['id']}")).status_code == 204
        assert (await mia.wait_for("message-deleted")).data == {"id": secret["id"]}
    async with open_stream(service, event, after=0) as mia:
        await mia.wait_for("message-deleted")
        assert mia.of_kind("message") == []
    kept = await service.resources.db.pool.fetch(
        "SELECT t::text FROM live_log t UNION ALL SELECT p::text FROM live_posts p"
    )
    assert not [row for row in kept if "telephone" in row[0]]


async def test_admins_alone_hear_that_people_wait_and_no_host_is_there(service: RunningService) -> None:
    event = await event_at_start(service, "member", "member2")
    mine, theirs = [{"join_url": await personal_link(service, event, who)} for who in ("member", "member2")]
    async with open_stream(service, event) as mia, open_stream(service, event, "admin") as ada:
        await act_in_meeting(service, event, "start", host_joins=False)
        await act_in_meeting(service, event, "join", **mine)
        assert (await ada.wait_for("attention")).data["sentence"] == "One person is waiting and no host is there."
        await act_in_meeting(service, event, "join", **theirs, waits=True)
        assert (await ada.wait_for("attention", 2)).data == {
            "waiting": 2,
            "sentence": "2 people are waiting and no host is there.",
        }
        await post_message(service, event, "Is anybody there?")
        await mia.wait_for("message")
        assert mia.of_kind("attention") == []
        assert mia.of_kind("state")[-1].data["participants"] == 1, "who waits is not inside"
        async with open_stream(service, event, "owner") as olga:
            assert (await olga.wait_for("attention")).data["waiting"] == 2
        host = {"user_id": "1", "participant_user_id": await ada_at_zoom(service), "user_name": "Ada"}
        uuid = await service.resources.db.pool.fetchval("SELECT uuid FROM instances")
        await send_notification(service, event, "participant_joined", host, uuid=uuid)
        assert (await ada.wait_for("attention", 3)).data["waiting"] == 0


async def test_a_host_who_left_a_moment_ago_is_not_missed(service: RunningService) -> None:
    event = await live_event(service, "member")
    link = {"join_url": await personal_link(service, event, "member")}
    host = {"user_id": "1", "participant_user_id": await ada_at_zoom(service), "user_name": "Ada"}
    uuid = await service.resources.db.pool.fetchval("SELECT uuid FROM instances")
    async with open_stream(service, event, "admin") as ada:
        await send_notification(service, event, "participant_joined", host, uuid=uuid)
        await act_in_meeting(service, event, "join", **link)
        await ada.wait_until(lambda _: ada.of_kind("state")[-1].data["participants"] == 2)
        await send_notification(service, event, "participant_left", host, uuid=uuid)
        await ada.wait_until(lambda _: ada.of_kind("state")[-1].data["participants"] == 1)
        await service.wait_idle()
        assert ada.of_kind("attention") == [], "the connection may be lost"
        await service.advance_clock(RECONNECT_GRACE)
        assert (await ada.wait_for("attention")).data["waiting"] == 1


async def test_who_waits_for_the_host_outside_is_told_to_those_who_lead(service: RunningService) -> None:
    event = await event_at_start(service, "member")
    async with open_stream(service, event, "admin") as ada:
        link = {"join_url": await personal_link(service, event, "member")}
        waits = await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/join", json=link)
        assert waits.status_code == 409
        assert (await ada.wait_for("attention")).data["sentence"] == "One person is waiting and no host is there."
        session = await service.resources.db.pool.fetchrow(
            "SELECT instance_uuid, registrant_id FROM participant_sessions"
        )
        await service.advance_clock(timedelta(minutes=1))
        person, uuid = {"registrant_id": session["registrant_id"]}, session["instance_uuid"]
        await send_notification(service, event, "participant_jbh_waiting_left", person, uuid=uuid)
        assert (await ada.wait_for("attention", 2)).data["waiting"] == 0
        await service.advance_clock(timedelta(minutes=1))
        await send_notification(service, event, "participant_jbh_waiting", person, uuid=uuid)
        assert (await ada.wait_for("attention", 3)).data["waiting"] == 1
        await act_in_meeting(service, event, "start")
        assert (await ada.wait_for("attention", 4)).data["waiting"] == 0


async def test_an_instance_that_only_a_recording_told_of_does_not_run(service: RunningService) -> None:
    event = await event_at_start(service, "member")
    await service.resources.db.pool.execute(
        "INSERT INTO instances (id, meeting_id, uuid) SELECT gen_random_uuid(), id, 'recorded==' FROM meetings"
    )
    async with open_stream(service, event, "admin") as ada:
        await send_notification(service, event, "participant_joined_waiting_room", {"user_name": "Mia", "user_id": "7"})
        assert (await ada.wait_for("attention")).data["waiting"] == 1


async def ada_at_zoom(service: RunningService) -> str:
    """Return the Zoom user id of the host."""
    found: str = await service.resources.db.pool.fetchval("SELECT zoom_user_id FROM hosts WHERE email LIKE 'ada@%'")
    return found


async def test_a_person_on_two_devices_counts_once(service: RunningService) -> None:
    event = await live_event(service, "member")
    async with open_stream(service, event) as mia:
        uuid = await service.resources.db.pool.fetchval("SELECT uuid FROM instances")
        for number in (1, 2):
            person = {"user_id": str(number), "email": "member@members.example"}
            await send_notification(service, event, "participant_joined", person, uuid=uuid)
        await send_notification(
            service, event, "participant_joined", {"user_id": "3", "user_name": "Somebody"}, uuid=uuid
        )
        await mia.wait_until(lambda _: mia.of_kind("state")[-1].data["participants"] == 2)
        assert [each.data["participants"] for each in mia.of_kind("state")] == [0, 1, 2]


async def test_who_goes_from_room_to_room_is_one_person_whichever_half_of_the_move_is_lost(
    service: RunningService,
) -> None:
    event = await live_event(service, "member")
    uuid = await service.resources.db.pool.fetchval("SELECT uuid FROM instances")
    ada = {"participant_user_id": await ada_at_zoom(service), "user_name": "Ada", "participant_uuid": "p-ada"}
    somebody = {"user_name": "Somebody", "participant_uuid": "p-somebody"}
    start = service.clock.now().replace(microsecond=0)
    async with open_stream(service, event, "admin") as olga:

        async def notify(kind: str, second: int, person: dict[str, Any], user_id: str) -> None:
            at = {"date_time": (start + timedelta(seconds=second)).isoformat()}
            await send_notification(
                service, event, f"participant_{kind}", person | at | {"user_id": user_id}, uuid=uuid
            )

        for person in (ada, somebody):
            await notify("joined", 1, person, person["participant_uuid"])
        await olga.wait_until(lambda _: olga.of_kind("state")[-1].data["participants"] == 2)
        for person in (ada, somebody):
            await notify("joined", 2, person, f"{person['participant_uuid']}-moved")
        await notify("left", 3, somebody, "p-somebody-moved")
        await olga.wait_until(lambda _: olga.of_kind("state")[-1].data["participants"] == 1)
        await notify("left", 4, ada, "p-ada-moved-twice")
        await olga.wait_until(lambda _: olga.of_kind("state")[-1].data["participants"] == 0)
        assert [each.data["participants"] for each in olga.of_kind("state")] == [0, 1, 2, 1, 0]
        assert olga.of_kind("attention") == []


async def test_who_may_not_read_any_more_is_cut_off(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ACCESS_CHECK_SECONDS", 0.2)
    event = await live_event(service, "member", "member2")
    async with open_stream(service, event) as mia, open_stream(service, event, "member2") as max_:
        await rsvp(service, event, "member", "not_going")
        await mia.wait_until(lambda each: each.ended)
        left = await service.call("member2", "DELETE", "/api/communities/zoom-reviewer/members/m-member2")
        assert left.status_code == 204
        await max_.wait_until(lambda each: each.ended)
    assert (await service.get("member", stream_path(event))).json()["type"].endswith("/not-registered")


async def test_a_stream_ends_with_its_token(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEPALIVE_SECONDS", 0.05)
    event = await live_event(service, "member")
    expires = int(service.clock.now().timestamp()) + 600
    async with open_stream(service, event, exp=expires) as mia:
        await mia.wait_until(lambda each: each.comments >= 1)
        assert not mia.ended
        await service.advance_clock(timedelta(seconds=600))
        await mia.wait_until(lambda each: each.ended)


async def test_a_cookie_opens_a_stream_too(service: RunningService) -> None:
    event = await live_event(service, "member")
    cookie = {"Cookie": f"session={service.platform.token('member', service.clock.now())}"}
    async with service.api.stream("GET", stream_path(event), headers=cookie) as answer:
        assert answer.status_code == 200


async def test_somebody_who_hears_nothing_hears_a_heartbeat(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEEPALIVE_SECONDS", 0.05)
    event = await live_event(service, "member")
    async with open_stream(service, event) as mia:
        await mia.wait_until(lambda each: each.comments >= 3)


async def test_once_it_is_over_for_good_the_stream_ends_and_a_browser_is_told_not_to_come_again(
    service: RunningService,
) -> None:
    event = await live_event(service, "member")
    await post_message(service, event, "Bye.")
    async with open_stream(service, event) as mia:
        await advance_to_minute(service, event, 50)
        await act_in_meeting(service, event, "end")
        await mia.wait_for("closed")
        assert not mia.ended, "the host may start it again"
        last = mia.ids[-1]
    await service.advance_clock(timedelta(minutes=30))
    async with open_stream(service, event) as mia:
        await mia.wait_until(lambda each: each.ended)
        assert [each.kind for each in mia.events] == ["state", "closed"]
    again = await service.get("member", stream_path(event), headers={"Last-Event-ID": str(last)})
    assert (again.status_code, again.content) == (204, b"")
    async with open_stream(service, event, after=last - 1) as mia:
        await mia.wait_until(lambda each: each.ended)
        assert [each.kind for each in mia.events] == ["state", "closed"]


async def test_who_resumes_what_is_over_gets_the_last_number_whatever_the_last_entry_is(
    service: RunningService,
) -> None:
    event = await live_event(service, "member")
    await post_message(service, event, "Hello!")
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    await service.wait_idle()
    async with service.resources.db.transaction() as tx:
        last = await event_log.append(tx, UUID(event["id"]), "attention", schemas.attention(1))
    await service.advance_clock(timedelta(minutes=30))
    await expect_stream(service, event, last - 1, ["state", "closed"], last)
    await expect_stream(service, event, last - 2, ["state", "closed", "closed"], last)
    async with open_stream(service, event, "admin", after=last - 1) as ada:
        await ada.wait_until(lambda each: each.ended)
        assert [each.kind for each in ada.events] == ["state", "attention"], "that was the last number"


async def test_who_resumes_a_log_that_was_cleaned_up_gets_its_last_number(service: RunningService) -> None:
    event = await live_event(service, "member")
    await post_message(service, event, "Hello!")
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    await service.wait_idle()
    await service.advance_clock(timedelta(days=3))
    await service.wait_idle()
    last = await service.resources.db.pool.fetchval("SELECT sequence FROM live_streams")
    assert await service.resources.db.pool.fetchval("SELECT count(*) FROM live_log") == 0
    await expect_stream(service, event, 1, ["state", "closed"], last)


async def expect_stream(
    service: RunningService, event: dict[str, Any], after: int, kinds: list[str], last: int
) -> None:
    """A client that resumes after a number receives these kinds, the last with the last number, and then a 204."""
    async with open_stream(service, event, after=after) as mia:
        await mia.wait_until(lambda each: each.ended)
        assert ([each.kind for each in mia.events], mia.ids[-1]) == (kinds, last)
    again = await service.get("member", stream_path(event), headers={"Last-Event-ID": str(last)})
    assert (again.status_code, again.content) == (204, b"")


async def test_a_cancelled_event_closes_at_once(service: RunningService) -> None:
    event = await live_event(service, "member")
    async with open_stream(service, event, "admin") as ada:
        await cancel(service, event)
        assert (await ada.wait_for("closed")).data == {"status": "cancelled"}
        await ada.wait_until(lambda each: each.ended)


async def test_a_rehearsal_opens_and_closes_nothing_for_good(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event, "member")
    async with open_stream(service, event) as mia:
        await act_in_meeting(service, event, "start", host_joins=False)
        await mia.wait_for("state", 2)
        await act_in_meeting(service, event, "end")
        await mia.wait_for("state", 3)
        assert [each.data["status"] for each in mia.of_kind("state")] == ["scheduled", "live", "scheduled"]
        assert mia.of_kind("closed") == []


async def test_time_alone_ends_an_event_that_never_began(service: RunningService) -> None:
    event = await event_at_start(service, "member")
    async with open_stream(service, event, "admin") as ada:
        assert ada.events[0].data["status"] == "scheduled"
    ends = datetime.fromisoformat(event["ends_at"])
    await service.advance_clock(ends + timedelta(minutes=20) - service.clock.now())
    async with open_stream(service, event, "admin") as ada:
        await ada.wait_until(lambda each: each.ended)
        assert (ada.events[0].data["status"], ada.events[-1].kind) == ("ended", "closed")


async def test_the_database_may_go_away_and_come_back_while_people_listen(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "POLL_SECONDS", 0.2)
    event = await live_event(service, "member")
    async with open_stream(service, event) as mia:
        await service.resources.db.pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        while (response := await post_message(service, event, "Still there?")).status_code != 201:
            assert response.status_code >= 500
        assert (await mia.wait_for("message")).data["text"] == "Still there?"


async def test_whoever_listened_when_something_failed_comes_again_and_misses_nothing(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await live_event(service, "member")

    async def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    async with open_stream(service, event) as mia:
        monkeypatch.setattr(event_log, "read_after", fail)
        assert (await post_message(service, event, "Hello!")).status_code == 201
        await mia.wait_until(lambda each: each.ended)
        monkeypatch.undo()
    async with open_stream(service, event, after=mia.ids[-1]) as mia:
        assert (await mia.wait_for("message")).data["text"] == "Hello!"


async def test_logs_of_what_is_long_over_are_deleted_and_what_people_wrote_stays(service: RunningService) -> None:
    event = await live_event(service, "member")
    await post_message(service, event, "Remember me.")
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    await service.wait_idle()
    await service.advance_clock(timedelta(days=3))
    await service.wait_idle()
    counted = "SELECT (SELECT count(*) FROM live_log), (SELECT count(*) FROM live_posts WHERE event_id = $1)"
    assert tuple(await service.resources.db.pool.fetchrow(counted, UUID(event["id"]))) == (0, 1)


async def test_only_who_is_coming_listens(service: RunningService) -> None:
    event = await event_at_start(service, "member")
    refused = {
        "member2": (403, "not-registered"),
        "coach": (403, "not-registered"),
        "neighbour": (404, "not-found"),
        "stranger": (404, "not-found"),
        None: (401, "not-signed-in"),
    }
    for who, expected in refused.items():
        answer: httpx.Response = await service.get(who, stream_path(event))
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == expected, who
    await rsvp(service, event, "member2", "maybe")
    assert (await service.get("member2", stream_path(event))).status_code == 403
    await service.resources.db.pool.execute("UPDATE events SET coach_id = 'm-coach'")
    for who in ("member", "coach", "admin", "owner"):
        async with open_stream(service, event, who) as listener:
            assert listener.events[0].kind == "state"
