"""What happens live is heard by everybody who may hear it, in one order, and nothing of it is missed."""

import asyncio
import contextlib
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.attendance.fold import RECONNECTS
from app.live import hub, log, stream, views
from tests.attendance.house import inside, link_of, to_minute, told
from tests.live.house import asks, evening, listening, live_evening, says
from tests.living import Living
from tests.meetings.house import cancel, rsvp


def path(event: dict[str, Any]) -> str:
    """Where an event's stream is."""
    return f"/api/events/{event['id']}/live"


async def test_a_meeting_is_followed_from_its_start_to_its_end(living: Living) -> None:
    event = await evening(living, "member")
    link = {"join_url": await link_of(living, event, "member")}
    async with listening(living, event) as mia:
        assert (mia.heard[0].id, mia.heard[0].data) == (0, {"status": "scheduled", "participants": 0})
        assert mia.answer.headers["content-type"].startswith("text/event-stream")
        assert mia.answer.headers["cache-control"] == "no-store"
        assert mia.answer.headers["x-accel-buffering"] == "no"
        await inside(living, event, "start", host_joins=False)
        assert (await mia.hears("state", 2)).data == {"status": "live", "participants": 0}
        await inside(living, event, "join", **link)
        assert (await mia.hears("state", 3)).data == {"status": "live", "participants": 1}
        question = (await asks(living, event, "Is there a recording?")).json()
        heard = await mia.hears("question")
        assert heard.data == {name: value for name, value in question.items() if name != "upvoted"}
        assert heard.id == question["sequence"]
        upvoted = await living.call("member", "PUT", f"/api/questions/{question['id']}/upvote")
        assert (await mia.hears("upvote")).data == {"question_id": question["id"], "upvotes": 1}
        assert upvoted.json() == {"question_id": question["id"], "upvotes": 1, "upvoted": True}
        await living.post("admin", f"/api/questions/{question['id']}/answer", {"text": "Yes."})
        answered = (await mia.hears("answer")).data
        assert (answered["question_id"], answered["answer"]["text"]) == (question["id"], "Yes.")
        await inside(living, event, "leave", **link)
        assert (await mia.hears("state", 4)).data == {"status": "live", "participants": 0}
        await living.get("member", (await living.post("member", f"/api/events/{event['id']}/zoom-join")).json()["url"])
        await to_minute(living, event, 50)
        await inside(living, event, "end")
        assert (await mia.hears("closed")).data == {"status": "ended"}
        assert mia.of("state")[-1].data == {"status": "ended", "participants": 0}
        assert mia.ids == sorted(set(mia.ids)), "the numbers only grow"


async def test_news_arrive_without_anybody_looking(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "LOOK_EVERY", 3600.0)
    monkeypatch.setattr(hub, "CHECK_EVERY", 3600.0)
    event = await evening(living, "member")
    async with listening(living, event) as mia:
        began = time.perf_counter()
        await inside(living, event, "start", host_joins=False)
        await mia.hears("state", 2)
        print(f"from Zoom's start to the listener: {(time.perf_counter() - began) * 1000:.0f} ms")  # noqa: T201 - a figure
        await says(living, event, "Hello!")
        assert (await mia.hears("message")).data["text"] == "Hello!"


async def test_who_resumes_gets_exactly_what_was_missed(living: Living) -> None:
    event = await live_evening(living, "member")
    async with listening(living, event) as mia:
        await says(living, event, "one")
        seen = await mia.hears("message")
    for text in ("two", "three", "four"):
        assert (await says(living, event, text)).status_code == 201
    async with listening(living, event, after=seen.id) as mia:
        await mia.hears("message", 3)
        assert mia.heard[0].id == seen.id, "the state it begins with counts as nothing new"
        assert [each.data["text"] for each in mia.of("message")] == ["two", "three", "four"]
        await says(living, event, "five")
        assert (await mia.hears("message", 4)).data["text"] == "five"
        assert mia.ids == sorted(mia.ids)
    by_query = await first_lines(living, event, {"since": str(seen.id)}, 4)
    assert next(each for each in by_query if each.startswith("id: ")) == f"id: {seen.id}"
    async with listening(living, event, after=10**12) as mia:
        assert mia.heard[0].id == seen.id + 4, "a number of elsewhere means nothing here"


async def test_of_the_states_that_were_missed_only_the_last_is_told(living: Living) -> None:
    event = await live_evening(living, "member")
    async with listening(living, event) as mia:
        seen = mia.ids[-1]
    link = {"join_url": await link_of(living, event, "member")}
    for what in ("join", "leave", "join"):
        await inside(living, event, what, **link)
        await living.quiet()
        await says(living, event, what)
    async with listening(living, event, after=seen) as mia:
        await mia.hears("message", 3)
        assert [each.data["text"] for each in mia.of("message")] == ["join", "leave", "join"]
        assert [each.data["participants"] for each in mia.of("state")] == [1, 1], "how it stands, and the last missed"
        assert mia.ids == sorted(mia.ids)


async def test_of_too_many_streams_of_one_member_the_oldest_ends(living: Living) -> None:
    event = await live_evening(living, "member", "member2")
    async with contextlib.AsyncExitStack() as stack:
        max_ = await stack.enter_async_context(listening(living, event, "member2"))
        mine = [await stack.enter_async_context(listening(living, event)) for _ in range(hub.MOST_STREAMS)]
        await says(living, event, "Ten of me.")
        for listener in (max_, *mine):
            await listener.hears("message")
        await stack.enter_async_context(listening(living, event))
        await mine[0].until(lambda each: each.over)
        await says(living, event, "And one more.")
        for listener in (max_, *mine[1:]):
            await listener.hears("message", 2)


async def test_of_too_many_streams_of_one_member_the_oldest_ends_whatever_events_they_are_of(living: Living) -> None:
    event = await live_evening(living, "member", "member2")
    others = [await living.event(delivery_mode="native") for _ in range(2)]
    for other in others:
        await rsvp(living, other, "member")
    async with contextlib.AsyncExitStack() as stack:
        max_ = await stack.enter_async_context(listening(living, event, "member2"))
        first = await stack.enter_async_context(listening(living, event))
        second = await stack.enter_async_context(listening(living, others[0]))
        for number in range(hub.MOST_STREAMS - 1):
            await stack.enter_async_context(listening(living, others[number % 2]))
        await first.until(lambda each: each.over)
        assert not second.over
        await stack.enter_async_context(listening(living, event))
        await second.until(lambda each: each.over)
        assert not max_.over


async def first_lines(living: Living, event: dict[str, Any], params: dict[str, str], number: int) -> list[str]:
    """The first lines of a member's stream."""
    headers = {"Authorization": f"Bearer {living.platform.token('member', living.clock.now())}"}
    async with living.api.stream("GET", path(event), params=params, headers=headers) as answer:
        lines = []
        async for line in answer.aiter_lines():
            lines.append(line)
            if len(lines) == number:
                break
        return lines


async def test_writers_at_once_are_heard_in_one_order_by_everybody(living: Living) -> None:
    event = await live_evening(living, "member", "member2", "coach")
    writers = ("member", "member2", "coach", "admin", "owner")
    async with listening(living, event) as mia, listening(living, event, "member2") as max_:
        said = await asyncio.gather(*(says(living, event, f"{who} {n}", who) for who in writers for n in range(12)))
        assert {answer.status_code for answer in said} == {201}
        for listener in (mia, max_):
            await listener.hears("message", 60)
        assert [each.data for each in mia.of("message")] == [each.data for each in max_.of("message")]
        assert mia.ids == sorted(set(mia.ids))
        numbers = {answer.json()["sequence"] for answer in said}
        assert numbers == {each.id for each in mia.of("message")}
        assert len(numbers) == 60


async def test_what_is_deleted_disappears_live_and_is_told_to_nobody_again(living: Living) -> None:
    event = await live_evening(living, "member", "member2")
    async with listening(living, event) as mia:
        secret = (await says(living, event, "my telephone number", "member2")).json()
        await mia.hears("message")
        assert (await living.call("admin", "DELETE", f"/api/messages/{secret['id']}")).status_code == 204
        assert (await mia.hears("message-deleted")).data == {"id": secret["id"]}
    async with listening(living, event, after=0) as mia:
        await mia.hears("message-deleted")
        assert mia.of("message") == []
    kept = await living.held.db.hot.fetch("SELECT t::text FROM live_log t UNION ALL SELECT p::text FROM live_posts p")
    assert not [row for row in kept if "telephone" in row[0]]


async def test_admins_alone_hear_that_people_wait_and_no_host_is_there(living: Living) -> None:
    event = await evening(living, "member", "member2")
    mine, theirs = [{"join_url": await link_of(living, event, who)} for who in ("member", "member2")]
    async with listening(living, event) as mia, listening(living, event, "admin") as ada:
        await inside(living, event, "start", host_joins=False)
        await inside(living, event, "join", **mine)
        assert (await ada.hears("attention")).data["sentence"] == "One person is waiting and no host is there."
        await inside(living, event, "join", **theirs, waits=True)
        assert (await ada.hears("attention", 2)).data == {
            "waiting": 2,
            "sentence": "2 people are waiting and no host is there.",
        }
        await says(living, event, "Is anybody there?")
        await mia.hears("message")
        assert mia.of("attention") == []
        assert mia.of("state")[-1].data["participants"] == 1, "who waits is not inside"
        async with listening(living, event, "owner") as olga:
            assert (await olga.hears("attention")).data["waiting"] == 2
        host = {"user_id": "1", "participant_user_id": await ada_at_zoom(living), "user_name": "Ada"}
        uuid = await living.held.db.hot.fetchval("SELECT uuid FROM instances")
        await told(living, event, "participant_joined", host, uuid=uuid)
        assert (await ada.hears("attention", 3)).data["waiting"] == 0


async def test_a_host_who_left_a_moment_ago_is_not_missed(living: Living) -> None:
    event = await live_evening(living, "member")
    link = {"join_url": await link_of(living, event, "member")}
    host = {"user_id": "1", "participant_user_id": await ada_at_zoom(living), "user_name": "Ada"}
    uuid = await living.held.db.hot.fetchval("SELECT uuid FROM instances")
    async with listening(living, event, "admin") as ada:
        await told(living, event, "participant_joined", host, uuid=uuid)
        await inside(living, event, "join", **link)
        await ada.until(lambda _: ada.of("state")[-1].data["participants"] == 2)
        await told(living, event, "participant_left", host, uuid=uuid)
        await ada.until(lambda _: ada.of("state")[-1].data["participants"] == 1)
        await living.quiet()
        assert ada.of("attention") == [], "the connection may be lost"
        await living.forward(RECONNECTS)
        assert (await ada.hears("attention")).data["waiting"] == 1


async def test_who_waits_for_the_host_outside_is_told_to_those_who_lead(living: Living) -> None:
    event = await evening(living, "member")
    async with listening(living, event, "admin") as ada:
        link = {"join_url": await link_of(living, event, "member")}
        waits = await living.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/join", json=link)
        assert waits.status_code == 409
        assert (await ada.hears("attention")).data["sentence"] == "One person is waiting and no host is there."
        session = await living.held.db.hot.fetchrow("SELECT instance_uuid, registrant_id FROM participant_sessions")
        await living.forward(timedelta(minutes=1))
        person, uuid = {"registrant_id": session["registrant_id"]}, session["instance_uuid"]
        await told(living, event, "participant_jbh_waiting_left", person, uuid=uuid)
        assert (await ada.hears("attention", 2)).data["waiting"] == 0
        await living.forward(timedelta(minutes=1))
        await told(living, event, "participant_jbh_waiting", person, uuid=uuid)
        assert (await ada.hears("attention", 3)).data["waiting"] == 1
        await inside(living, event, "start")
        assert (await ada.hears("attention", 4)).data["waiting"] == 0


async def test_an_instance_that_only_a_recording_told_of_does_not_run(living: Living) -> None:
    event = await evening(living, "member")
    await living.held.db.hot.execute(
        "INSERT INTO instances (id, meeting_id, uuid) SELECT gen_random_uuid(), id, 'recorded==' FROM meetings"
    )
    async with listening(living, event, "admin") as ada:
        await told(living, event, "participant_joined_waiting_room", {"user_name": "Mia", "user_id": "7"})
        assert (await ada.hears("attention")).data["waiting"] == 1


async def ada_at_zoom(living: Living) -> str:
    """The Zoom user id of the host."""
    found: str = await living.held.db.hot.fetchval("SELECT zoom_user_id FROM hosts WHERE email LIKE 'ada@%'")
    return found


async def test_a_person_on_two_devices_counts_once(living: Living) -> None:
    event = await live_evening(living, "member")
    async with listening(living, event) as mia:
        uuid = await living.held.db.hot.fetchval("SELECT uuid FROM instances")
        for number in (1, 2):
            person = {"user_id": str(number), "email": "member@members.example"}
            await told(living, event, "participant_joined", person, uuid=uuid)
        await told(living, event, "participant_joined", {"user_id": "3", "user_name": "Somebody"}, uuid=uuid)
        await mia.until(lambda _: mia.of("state")[-1].data["participants"] == 2)
        assert [each.data["participants"] for each in mia.of("state")] == [0, 1, 2]


async def test_who_goes_from_room_to_room_is_one_person_whichever_half_of_the_move_is_lost(living: Living) -> None:
    event = await live_evening(living, "member")
    uuid = await living.held.db.hot.fetchval("SELECT uuid FROM instances")
    ada = {"participant_user_id": await ada_at_zoom(living), "user_name": "Ada", "participant_uuid": "p-ada"}
    somebody = {"user_name": "Somebody", "participant_uuid": "p-somebody"}
    start = living.clock.now().replace(microsecond=0)
    async with listening(living, event, "admin") as olga:

        async def say(kind: str, second: int, person: dict[str, Any], user_id: str) -> None:
            at = {"date_time": (start + timedelta(seconds=second)).isoformat()}
            await told(living, event, f"participant_{kind}", person | at | {"user_id": user_id}, uuid=uuid)

        for person in (ada, somebody):
            await say("joined", 1, person, person["participant_uuid"])
        await olga.until(lambda _: olga.of("state")[-1].data["participants"] == 2)
        for person in (ada, somebody):
            await say("joined", 2, person, f"{person['participant_uuid']}-moved")
        await say("left", 3, somebody, "p-somebody-moved")
        await olga.until(lambda _: olga.of("state")[-1].data["participants"] == 1)
        await say("left", 4, ada, "p-ada-moved-twice")
        await olga.until(lambda _: olga.of("state")[-1].data["participants"] == 0)
        assert [each.data["participants"] for each in olga.of("state")] == [0, 1, 2, 1, 0]
        assert olga.of("attention") == []


async def test_who_may_not_read_any_more_is_cut_off(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "CHECK_EVERY", 0.2)
    event = await live_evening(living, "member", "member2")
    async with listening(living, event) as mia, listening(living, event, "member2") as max_:
        await rsvp(living, event, "member", "not_going")
        await mia.until(lambda each: each.over)
        left = await living.call("member2", "DELETE", "/api/communities/zoom-reviewer/members/m-member2")
        assert left.status_code == 204
        await max_.until(lambda each: each.over)
    assert (await living.get("member", path(event))).json()["type"].endswith("/not-registered")


async def test_a_stream_ends_with_its_token(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.05)
    event = await live_evening(living, "member")
    expires = int(living.clock.now().timestamp()) + 600
    async with listening(living, event, exp=expires) as mia:
        await mia.until(lambda each: each.comments >= 1)
        assert not mia.over
        await living.forward(timedelta(seconds=600))
        await mia.until(lambda each: each.over)


async def test_a_cookie_opens_a_stream_too(living: Living) -> None:
    event = await live_evening(living, "member")
    cookie = {"Cookie": f"session={living.platform.token('member', living.clock.now())}"}
    async with living.api.stream("GET", path(event), headers=cookie) as answer:
        assert answer.status_code == 200


async def test_somebody_who_hears_nothing_hears_a_heartbeat(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.05)
    event = await live_evening(living, "member")
    async with listening(living, event) as mia:
        await mia.until(lambda each: each.comments >= 3)


async def test_once_it_is_over_for_good_the_stream_ends_and_a_browser_is_told_not_to_come_again(living: Living) -> None:
    event = await live_evening(living, "member")
    await says(living, event, "Bye.")
    async with listening(living, event) as mia:
        await to_minute(living, event, 50)
        await inside(living, event, "end")
        await mia.hears("closed")
        assert not mia.over, "the host may start it again"
        last = mia.ids[-1]
    await living.forward(timedelta(minutes=30))
    async with listening(living, event) as mia:
        await mia.until(lambda each: each.over)
        assert [each.kind for each in mia.heard] == ["state", "closed"]
    again = await living.get("member", path(event), headers={"Last-Event-ID": str(last)})
    assert (again.status_code, again.content) == (204, b"")
    async with listening(living, event, after=last - 1) as mia:
        await mia.until(lambda each: each.over)
        assert [each.kind for each in mia.heard] == ["state", "closed"]


async def test_who_resumes_what_is_over_gets_the_last_number_whatever_the_last_entry_is(living: Living) -> None:
    event = await live_evening(living, "member")
    await says(living, event, "Hello!")
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    await living.quiet()
    async with living.held.db.transaction() as tx:
        last = await log.append(tx, UUID(event["id"]), "attention", views.attention(1))
    await living.forward(timedelta(minutes=30))
    await ends_with(living, event, last - 1, ["state", "closed"], last)
    await ends_with(living, event, last - 2, ["state", "closed", "closed"], last)
    async with listening(living, event, "admin", after=last - 1) as ada:
        await ada.until(lambda each: each.over)
        assert [each.kind for each in ada.heard] == ["state", "attention"], "that was the last number"


async def test_who_resumes_a_log_that_was_tidied_gets_its_last_number(living: Living) -> None:
    event = await live_evening(living, "member")
    await says(living, event, "Hello!")
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    await living.quiet()
    await living.forward(timedelta(days=3))
    await living.quiet()
    last = await living.held.db.hot.fetchval("SELECT sequence FROM live_streams")
    assert await living.held.db.hot.fetchval("SELECT count(*) FROM live_log") == 0
    await ends_with(living, event, 1, ["state", "closed"], last)


async def ends_with(living: Living, event: dict[str, Any], after: int, kinds: list[str], last: int) -> None:
    """Who resumes after a number hears these, the last of them with the last number, and is not to come again."""
    async with listening(living, event, after=after) as mia:
        await mia.until(lambda each: each.over)
        assert ([each.kind for each in mia.heard], mia.ids[-1]) == (kinds, last)
    again = await living.get("member", path(event), headers={"Last-Event-ID": str(last)})
    assert (again.status_code, again.content) == (204, b"")


async def test_a_cancelled_event_closes_at_once(living: Living) -> None:
    event = await live_evening(living, "member")
    async with listening(living, event, "admin") as ada:
        await cancel(living, event)
        assert (await ada.hears("closed")).data == {"status": "cancelled"}
        await ada.until(lambda each: each.over)


async def test_a_rehearsal_opens_and_closes_nothing_for_good(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event, "member")
    async with listening(living, event) as mia:
        await inside(living, event, "start", host_joins=False)
        await mia.hears("state", 2)
        await inside(living, event, "end")
        await mia.hears("state", 3)
        assert [each.data["status"] for each in mia.of("state")] == ["scheduled", "live", "scheduled"]
        assert mia.of("closed") == []


async def test_time_alone_ends_an_event_that_never_began(living: Living) -> None:
    event = await evening(living, "member")
    async with listening(living, event, "admin") as ada:
        assert ada.heard[0].data["status"] == "scheduled"
    ends = datetime.fromisoformat(event["ends_at"])
    await living.forward(ends + timedelta(minutes=20) - living.clock.now())
    async with listening(living, event, "admin") as ada:
        await ada.until(lambda each: each.over)
        assert (ada.heard[0].data["status"], ada.heard[-1].kind) == ("ended", "closed")


async def test_the_database_may_go_away_and_come_back_while_people_listen(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "LOOK_EVERY", 0.2)
    event = await live_evening(living, "member")
    async with listening(living, event) as mia:
        await living.held.db.hot.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        while (said := await says(living, event, "Still there?")).status_code != 201:
            assert said.status_code >= 500
        assert (await mia.hears("message")).data["text"] == "Still there?"


async def test_whoever_listened_when_something_failed_comes_again_and_misses_nothing(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await live_evening(living, "member")

    async def fails(*_: object) -> None:
        raise RuntimeError("on purpose")

    async with listening(living, event) as mia:
        monkeypatch.setattr(log, "after", fails)
        assert (await says(living, event, "Hello!")).status_code == 201
        await mia.until(lambda each: each.over)
        monkeypatch.undo()
    async with listening(living, event, after=mia.ids[-1]) as mia:
        assert (await mia.hears("message")).data["text"] == "Hello!"


async def test_logs_of_what_is_long_over_are_tidied_and_what_people_wrote_stays(living: Living) -> None:
    event = await live_evening(living, "member")
    await says(living, event, "Remember me.")
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    await living.quiet()
    await living.forward(timedelta(days=3))
    await living.quiet()
    counted = "SELECT (SELECT count(*) FROM live_log), (SELECT count(*) FROM live_posts WHERE event_id = $1)"
    assert tuple(await living.held.db.hot.fetchrow(counted, UUID(event["id"]))) == (0, 1)


async def test_only_who_is_coming_listens(living: Living) -> None:
    event = await evening(living, "member")
    refused = {
        "member2": (403, "not-registered"),
        "coach": (403, "not-registered"),
        "neighbour": (404, "not-found"),
        "stranger": (404, "not-found"),
        None: (401, "not-signed-in"),
    }
    for who, wanted in refused.items():
        answer: httpx.Response = await living.get(who, path(event))
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == wanted, who
    await rsvp(living, event, "member2", "maybe")
    assert (await living.get("member2", path(event))).status_code == 403
    await living.held.db.hot.execute("UPDATE events SET coach_id = 'm-coach'")
    for who in ("member", "coach", "admin", "owner"):
        async with listening(living, event, who) as listener:
            assert listener.heard[0].kind == "state"
