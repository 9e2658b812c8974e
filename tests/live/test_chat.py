"""The chat and the questions: who may write and read, when, how much, and what is stored."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.live import service as live_service
from app.live.schemas import clean_text
from tests.support.attendance_steps import (
    act_in_meeting,
    advance_to_minute,
    fetch_attendance,
    personal_link,
    send_notification,
)
from tests.support.live_steps import event_at_start, live_event, open_stream, post_message, post_question, read_chat
from tests.support.service import RunningService
from tests.support.steps import cancel, rsvp


def problem_slug(answer: Any) -> str:
    """Return the slug of a problem."""
    return str(answer.json()["type"].rpartition("/")[2])


async def test_nothing_is_written_before_the_event_is_live_nor_after_it_has_ended(service: RunningService) -> None:
    event = await event_at_start(service, "member")
    early = await post_message(service, event, "Is anybody there?")
    assert (early.status_code, problem_slug(early)) == (409, "not-live")
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    assert (await post_message(service, event, "Hello!")).status_code == 201
    question = (await post_question(service, event, "Why?")).json()
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    await service.wait_idle()
    for late in (
        await post_message(service, event, "Hello?"),
        await post_question(service, event, "Why not?"),
        await service.call("member", "PUT", f"/api/questions/{question['id']}/upvote"),
    ):
        assert (late.status_code, problem_slug(late)) == (409, "not-live")
        assert late.json()["detail"] == "The chat and the questions are open only while the event is live."
    answered = await service.post("admin", f"/api/questions/{question['id']}/answer", {"text": "Because."})
    assert answered.json()["answer"]["text"] == "Because.", "admins may still answer"


async def test_an_event_that_is_cancelled_while_live_takes_no_more_messages(service: RunningService) -> None:
    event = await live_event(service, "member")
    assert (await post_message(service, event, "Hello!")).status_code == 201
    await cancel(service, event)
    assert problem_slug(await post_message(service, event, "Hello?")) == "not-live"
    assert await read_chat(service, event) == ["Hello!"]


async def test_afterwards_those_read_who_were_in(service: RunningService) -> None:
    event = await live_event(service, "member", "member2", "coach")
    mine = {"join_url": await personal_link(service, event, "member2")}
    click = (await service.post("member", f"/api/events/{event['id']}/zoom-join")).json()["url"]
    assert (await service.get("member", click)).status_code == 303
    await act_in_meeting(service, event, "join", **mine)
    assert (await post_message(service, event, "Good to see you.", "admin")).status_code == 201
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    await service.wait_idle()
    await service.advance_clock(timedelta(minutes=30))
    for who in ("member", "member2", "admin", "owner"):
        assert await read_chat(service, event, who) == ["Good to see you."]
    away = await service.get("coach", f"/api/events/{event['id']}/messages")
    assert (away.status_code, problem_slug(away)) == (403, "not-there")
    assert problem_slug(await service.get("coach", f"/api/events/{event['id']}/questions")) == "not-there"


async def test_who_is_still_to_come_reads_on_after_an_end_by_mistake(service: RunningService) -> None:
    event = await live_event(service, "member")
    await act_in_meeting(service, event, "end")
    await service.wait_idle()
    async with open_stream(service, event) as mia:
        assert mia.events[0].data["status"] == "ended"
        assert problem_slug(await service.get("member2", f"/api/events/{event['id']}/messages")) == "not-registered"
        await act_in_meeting(service, event, "start", host_joins=False)
        await mia.wait_until(lambda _: mia.of_kind("state")[-1].data["status"] == "live")
        assert (await post_message(service, event, "Here I am.")).status_code == 201
        await mia.wait_for("message")


async def test_who_only_waited_for_the_host_and_gave_up_was_not_in(service: RunningService) -> None:
    event = await live_event(service, "member")
    registrant = await service.resources.db.pool.fetchval("SELECT zoom_registrant_id FROM registrants")
    uuid = await service.resources.db.pool.fetchval("SELECT uuid FROM instances")
    await send_notification(service, event, "participant_jbh_waiting_left", {"registrant_id": registrant}, uuid=uuid)
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    report = await fetch_attendance(service, event)
    assert (report["items"], [each["waited"] for each in report["no_shows"]]) == ([], [True])
    await service.advance_clock(timedelta(minutes=30))
    assert problem_slug(await service.get("member", f"/api/events/{event['id']}/messages")) == "not-there"


async def test_who_came_in_by_a_link_they_had_before_was_in(service: RunningService) -> None:
    event = await live_event(service, "member", "member2")
    former_id = "a-former-id"
    uuid = await service.resources.db.pool.fetchval("SELECT uuid FROM instances")
    await service.resources.db.pool.execute(
        "UPDATE registrants SET former_ids = ARRAY[$1] WHERE email = 'member@members.example'", former_id
    )
    async with open_stream(service, event) as mia:
        for number in ("1", "2"):
            await send_notification(
                service, event, "participant_joined", {"user_id": number, "registrant_id": former_id}, uuid=uuid
            )
        await send_notification(
            service, event, "participant_joined", {"user_id": "3", "user_name": "Somebody"}, uuid=uuid
        )
        await mia.wait_until(lambda _: mia.of_kind("state")[-1].data["participants"] == 2)
        assert [each.data["participants"] for each in mia.of_kind("state")] == [0, 1, 2], "two devices of one member"
    await advance_to_minute(service, event, 50)
    await act_in_meeting(service, event, "end")
    await service.wait_idle()
    await service.advance_clock(timedelta(minutes=30))
    assert await read_chat(service, event) == []
    await service.resources.db.pool.execute("UPDATE participant_sessions SET assigned_to = 'm-member2'")
    assert await read_chat(service, event, "member2") == []
    mistaken = await service.get("member", f"/api/events/{event['id']}/messages")
    assert problem_slug(mistaken) == "not-there", "somebody said that it was another"


async def test_only_who_is_coming_writes_and_reads(service: RunningService) -> None:
    event = await live_event_with_one_place(service)
    question = (await post_question(service, event, "Why?")).json()
    mine = f"/api/events/{event['id']}"
    for who, expected in (
        ("member2", (403, "waiting-list")),
        ("coach", (403, "not-registered")),
        ("neighbour", (404, "not-found")),
        ("stranger", (404, "not-found")),
        (None, (401, "not-signed-in")),
    ):
        for answer in (
            await service.get(who, f"{mine}/messages"),
            await service.get(who, f"{mine}/questions"),
            await service.post(who, f"{mine}/messages", {"text": "Hello!"}),
            await service.post(who, f"{mine}/questions", {"text": "Why?"}),
            await service.call(who, "PUT", f"/api/questions/{question['id']}/upvote"),
            await service.call(who, "DELETE", f"/api/questions/{question['id']}/upvote"),
        ):
            assert (answer.status_code, problem_slug(answer)) == expected, (who, answer.request.url)
    await service.resources.db.pool.execute("UPDATE registrations SET no_show = true WHERE member_id = 'm-member'")
    assert problem_slug(await post_message(service, event, "Hello!")) == "no-show"


async def live_event_with_one_place(service: RunningService) -> dict[str, Any]:
    """Create a live event with one place, which the member has; another member waits for it."""
    event = await event_at_start(service, "member", capacity=1)
    await rsvp(service, event, "member2")
    await act_in_meeting(service, event, "start", host_joins=False)
    await service.wait_idle()
    return event


async def test_admins_and_the_events_coach_answer_and_delete_and_nobody_else(service: RunningService) -> None:
    event = await live_event(service, "member", "coach")
    message = (await post_message(service, event, "Hello!")).json()
    question = (await post_question(service, event, "Why?")).json()
    about = f"/api/questions/{question['id']}"
    for who in ("member", "coach"):
        for refused in (
            await service.call(who, "DELETE", f"/api/messages/{message['id']}"),
            await service.call(who, "DELETE", about),
            await service.post(who, f"{about}/answer", {"text": "Because."}),
        ):
            assert (refused.status_code, problem_slug(refused)) == (403, "forbidden")
    await service.resources.db.pool.execute("UPDATE events SET coach_id = 'm-coach'")
    for who, text in (("coach", "Because."), ("admin", "For two reasons.")):
        answered = (await service.post(who, f"{about}/answer", {"text": text})).json()
        assert (answered["answer"]["member_id"], answered["answer"]["text"]) == (f"m-{who}", text)
    assert (await service.call("coach", "DELETE", f"/api/messages/{message['id']}")).status_code == 204
    assert (await service.call("admin", "DELETE", about)).status_code == 204
    assert await read_chat(service, event) == []
    for gone in (
        f"/api/messages/{message['id']}",
        about,
        f"/api/messages/{uuid4()}",
        f"/api/questions/{message['id']}",
    ):
        assert (await service.call("admin", "DELETE", gone)).status_code == 404
    assert (await post_message(service, event, "As the host's helper", "coach")).json()["author"]["role"] == "coach"


async def test_the_members_host_is_called_host(service: RunningService) -> None:
    event = await live_event(service, "member")
    await service.resources.db.pool.execute("UPDATE hosts SET member_id = 'm-coach' WHERE email LIKE 'ada@%'")
    roles = {
        who: (await post_message(service, event, "Hello!", who)).json()["author"]["role"] for who in ("coach", "admin")
    }
    assert roles == {"coach": "host", "admin": "admin"}
    assert (await post_message(service, event, "Hello!")).json()["author"] == {
        "member_id": "m-member",
        "name": "Mia Member",
        "role": "member",
    }


async def test_an_upvote_counts_once_for_each_member(service: RunningService) -> None:
    event = await live_event(service, "member", "member2")
    question = (await post_question(service, event, "Why?")).json()
    up = f"/api/questions/{question['id']}/upvote"
    both = await asyncio.gather(*(service.call(who, "PUT", up) for who in ("member", "member2") for _ in range(4)))
    assert {answer.status_code for answer in both} == {200}
    for who, upvoted in (("member", True), ("admin", False)):
        (listed,) = (await service.get(who, f"/api/events/{event['id']}/questions")).json()["items"]
        assert (listed["upvotes"], listed["upvoted"]) == (2, upvoted)
    assert (await service.call("member", "DELETE", up)).json()["upvotes"] == 1
    assert (await service.call("member", "DELETE", up)).json()["upvotes"] == 1
    logged = await service.resources.db.pool.fetchval("SELECT count(*) FROM live_log WHERE kind = 'upvote'")
    assert logged == 3, "an upvote that changes nothing is not logged"


async def test_nobody_floods_the_chat(service: RunningService) -> None:
    event = await live_event(service, "member", "member2")
    await service.advance_clock(timedelta(seconds=61 - service.clock.now().second))  # a minute has just begun
    limit = live_service.MAX_PER_MINUTE["message"]
    responses = await asyncio.gather(*(post_message(service, event, f"{n}") for n in range(limit + 3)))
    assert sorted(answer.status_code for answer in responses) == [201] * limit + [429] * 3
    refused = next(answer for answer in responses if answer.status_code == 429)
    assert problem_slug(refused) == "too-many"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert (await post_message(service, event, "I am somebody else.", "member2")).status_code == 201
    statuses = [
        (await post_question(service, event, f"{n}?")).status_code
        for n in range(live_service.MAX_PER_MINUTE["question"] + 1)
    ]
    assert statuses == [201] * live_service.MAX_PER_MINUTE["question"] + [429]
    await service.advance_clock(timedelta(seconds=int(refused.headers["retry-after"])))
    assert (await post_message(service, event, "Again.")).status_code == 201


async def test_the_same_request_again_says_nothing_twice(service: RunningService) -> None:
    event = await live_event(service, "member")
    key = {"Idempotency-Key": "k-1"}
    first, again = [await post_message(service, event, "Hello!", headers=key) for _ in range(2)]
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert await read_chat(service, event) == ["Hello!"]
    other = await post_message(service, event, "Something else.", headers=key)
    assert (other.status_code, problem_slug(other)) == (422, "idempotency-key-reused")
    asked = [
        (await post_question(service, event, "Why?", headers={"Idempotency-Key": "k-2"})).json()["id"] for _ in range(2)
    ]
    assert asked[0] == asked[1]


async def test_what_was_deleted_is_not_said_again_to_its_author_nor_by_the_same_request(
    service: RunningService,
) -> None:
    event = await live_event(service, "member")
    for write, kind in ((post_message, "messages"), (post_question, "questions")):
        key = {"Idempotency-Key": kind}
        post = (await write(service, event, "My telephone number", headers=key)).json()
        assert (await service.call("admin", "DELETE", f"/api/{kind}/{post['id']}")).status_code == 204
        again = await write(service, event, "My telephone number", headers=key)
        assert (again.status_code, problem_slug(again)) == (410, "deleted")
        assert (await service.get("member", f"/api/events/{event['id']}/{kind}")).json()["items"] == []
    kept = await service.resources.db.pool.fetch(
        "SELECT key, fingerprint, body FROM idempotency_keys WHERE key LIKE '%s'"
    )
    assert sorted(map(tuple, kept)) == [("messages", "", None), ("questions", "", None)]


async def test_long_lists_come_in_pages_the_newest_first(service: RunningService) -> None:
    event = await live_event(service, "member")
    for n in range(7):
        await post_message(service, event, f"{n}")
    read: list[str] = []
    cursor = None
    path = f"/api/events/{event['id']}/messages"
    while True:
        params: dict[str, Any] = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await service.get("member", path, params=params)).json()
        read += [each["text"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert read == [str(n) for n in reversed(range(7))]


HOSTILE = '<script>alert(1)</script>&amp; "quoted"\ndata: {"id": 1}\n\nevent: closed'


async def test_what_is_written_stays_plain_text(service: RunningService) -> None:
    event = await live_event(service, "member")
    assert (await post_message(service, event, HOSTILE)).json()["text"] == HOSTILE
    assert await read_chat(service, event) == [HOSTILE]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Hello!\x07\x1b[31m \u202eevil\u202c ", "Hello![31m evil"),
        ("one\r\ntwo\rthree\tfour", "one\ntwo\nthree\tfour"),
        ("👩‍👩‍👧 שלום", "👩‍👩‍👧 שלום"),
    ],
)
def test_control_characters_are_taken_out(typed: str, kept: str) -> None:
    assert clean_text(typed) == kept


async def test_a_message_that_says_nothing_or_too_much_is_a_wrong_field(service: RunningService) -> None:
    event = await live_event(service, "member")
    for text in ("", " ", "\x07\n", "x" * 2001, "a\x00b"):
        answer = await post_message(service, event, text)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "text")
    assert (await post_message(service, event, "x" * 2000)).status_code == 201
    assert (await post_question(service, event, "x" * 1001)).status_code == 422
