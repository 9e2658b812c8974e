"""The chat and the questions: who may write and read, when, how much, and what becomes of it."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.live import service as live_service
from app.live.views import plain
from tests.attendance.house import attendance, inside, link_of, to_minute, told
from tests.live.house import asks, chat, evening, listening, live_evening, says
from tests.living import Living
from tests.meetings.house import cancel, rsvp


def slug(answer: Any) -> str:
    """What kind of problem an answer is."""
    return str(answer.json()["type"].rpartition("/")[2])


async def test_nothing_is_written_before_the_event_is_live_nor_after_it_has_ended(living: Living) -> None:
    event = await evening(living, "member")
    early = await says(living, event, "Is anybody there?")
    assert (early.status_code, slug(early)) == (409, "not-live")
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    assert (await says(living, event, "Hello!")).status_code == 201
    question = (await asks(living, event, "Why?")).json()
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    await living.quiet()
    for late in (
        await says(living, event, "Hello?"),
        await asks(living, event, "Why not?"),
        await living.call("member", "PUT", f"/api/questions/{question['id']}/upvote"),
    ):
        assert (late.status_code, slug(late)) == (409, "not-live")
        assert late.json()["detail"] == "The chat and the questions are open only while the event is live."
    answered = await living.post("admin", f"/api/questions/{question['id']}/answer", {"text": "Because."})
    assert answered.json()["answer"]["text"] == "Because.", "admins may still answer"


async def test_an_event_that_is_cancelled_while_live_takes_no_more_messages(living: Living) -> None:
    event = await live_evening(living, "member")
    assert (await says(living, event, "Hello!")).status_code == 201
    await cancel(living, event)
    assert slug(await says(living, event, "Hello?")) == "not-live"
    assert await chat(living, event) == ["Hello!"]


async def test_afterwards_those_read_who_were_in(living: Living) -> None:
    event = await live_evening(living, "member", "member2", "coach")
    mine = {"join_url": await link_of(living, event, "member2")}
    click = (await living.post("member", f"/api/events/{event['id']}/zoom-join")).json()["url"]
    assert (await living.get("member", click)).status_code == 303
    await inside(living, event, "join", **mine)
    assert (await says(living, event, "Good to see you.", "admin")).status_code == 201
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    await living.quiet()
    await living.forward(timedelta(minutes=30))
    for who in ("member", "member2", "admin", "owner"):
        assert await chat(living, event, who) == ["Good to see you."]
    away = await living.get("coach", f"/api/events/{event['id']}/messages")
    assert (away.status_code, slug(away)) == (403, "not-there")
    assert slug(await living.get("coach", f"/api/events/{event['id']}/questions")) == "not-there"


async def test_who_is_still_to_come_reads_on_after_an_end_by_mistake(living: Living) -> None:
    event = await live_evening(living, "member")
    await inside(living, event, "end")
    await living.quiet()
    async with listening(living, event) as mia:
        assert mia.heard[0].data["status"] == "ended"
        assert slug(await living.get("member2", f"/api/events/{event['id']}/messages")) == "not-registered"
        await inside(living, event, "start", host_joins=False)
        await mia.until(lambda _: mia.of("state")[-1].data["status"] == "live")
        assert (await says(living, event, "Here I am.")).status_code == 201
        await mia.hears("message")


async def test_who_only_waited_for_the_host_and_gave_up_was_not_in(living: Living) -> None:
    event = await live_evening(living, "member")
    registrant = await living.held.db.hot.fetchval("SELECT zoom_registrant_id FROM registrants")
    uuid = await living.held.db.hot.fetchval("SELECT uuid FROM instances")
    await told(living, event, "participant_jbh_waiting_left", {"registrant_id": registrant}, uuid=uuid)
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    report = await attendance(living, event)
    assert (report["items"], [each["waited"] for each in report["no_shows"]]) == ([], [True])
    await living.forward(timedelta(minutes=30))
    assert slug(await living.get("member", f"/api/events/{event['id']}/messages")) == "not-there"


async def test_who_came_in_by_a_link_they_had_before_was_in(living: Living) -> None:
    event = await live_evening(living, "member", "member2")
    former, uuid = "a-former-id", await living.held.db.hot.fetchval("SELECT uuid FROM instances")
    await living.held.db.hot.execute(
        "UPDATE registrants SET former_ids = ARRAY[$1] WHERE email = 'member@members.example'", former
    )
    async with listening(living, event) as mia:
        for number in ("1", "2"):
            await told(living, event, "participant_joined", {"user_id": number, "registrant_id": former}, uuid=uuid)
        await told(living, event, "participant_joined", {"user_id": "3", "user_name": "Somebody"}, uuid=uuid)
        await mia.until(lambda _: mia.of("state")[-1].data["participants"] == 2)
        assert [each.data["participants"] for each in mia.of("state")] == [0, 1, 2], "two devices of one member"
    await to_minute(living, event, 50)
    await inside(living, event, "end")
    await living.quiet()
    await living.forward(timedelta(minutes=30))
    assert await chat(living, event) == []
    await living.held.db.hot.execute("UPDATE participant_sessions SET assigned_to = 'm-member2'")
    assert await chat(living, event, "member2") == []
    mistaken = await living.get("member", f"/api/events/{event['id']}/messages")
    assert slug(mistaken) == "not-there", "somebody said that it was another"


async def test_only_who_is_coming_writes_and_reads(living: Living) -> None:
    event = await living_with_one_place(living)
    question = (await asks(living, event, "Why?")).json()
    mine = f"/api/events/{event['id']}"
    for who, wanted in (
        ("member2", (403, "waiting-list")),
        ("coach", (403, "not-registered")),
        ("neighbour", (404, "not-found")),
        ("stranger", (404, "not-found")),
        (None, (401, "not-signed-in")),
    ):
        for answer in (
            await living.get(who, f"{mine}/messages"),
            await living.get(who, f"{mine}/questions"),
            await living.post(who, f"{mine}/messages", {"text": "Hello!"}),
            await living.post(who, f"{mine}/questions", {"text": "Why?"}),
            await living.call(who, "PUT", f"/api/questions/{question['id']}/upvote"),
            await living.call(who, "DELETE", f"/api/questions/{question['id']}/upvote"),
        ):
            assert (answer.status_code, slug(answer)) == wanted, (who, answer.request.url)
    await living.held.db.hot.execute("UPDATE registrations SET no_show = true WHERE member_id = 'm-member'")
    assert slug(await says(living, event, "Hello!")) == "no-show"


async def living_with_one_place(living: Living) -> dict[str, Any]:
    """A live event with one place, which the member has; another member waits for it."""
    event = await evening(living, "member", capacity=1)
    await rsvp(living, event, "member2")
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    return event


async def test_admins_and_the_events_coach_answer_and_delete_and_nobody_else(living: Living) -> None:
    event = await live_evening(living, "member", "coach")
    message, question = (await says(living, event, "Hello!")).json(), (await asks(living, event, "Why?")).json()
    about = f"/api/questions/{question['id']}"
    for who in ("member", "coach"):
        for refused in (
            await living.call(who, "DELETE", f"/api/messages/{message['id']}"),
            await living.call(who, "DELETE", about),
            await living.post(who, f"{about}/answer", {"text": "Because."}),
        ):
            assert (refused.status_code, slug(refused)) == (403, "forbidden")
    await living.held.db.hot.execute("UPDATE events SET coach_id = 'm-coach'")
    for who, text in (("coach", "Because."), ("admin", "For two reasons.")):
        answered = (await living.post(who, f"{about}/answer", {"text": text})).json()
        assert (answered["answer"]["member_id"], answered["answer"]["text"]) == (f"m-{who}", text)
    assert (await living.call("coach", "DELETE", f"/api/messages/{message['id']}")).status_code == 204
    assert (await living.call("admin", "DELETE", about)).status_code == 204
    assert await chat(living, event) == []
    for gone in (
        f"/api/messages/{message['id']}",
        about,
        f"/api/messages/{uuid4()}",
        f"/api/questions/{message['id']}",
    ):
        assert (await living.call("admin", "DELETE", gone)).status_code == 404
    assert (await says(living, event, "As the host's helper", "coach")).json()["author"]["role"] == "coach"


async def test_the_members_host_is_called_host(living: Living) -> None:
    event = await live_evening(living, "member")
    await living.held.db.hot.execute("UPDATE hosts SET member_id = 'm-coach' WHERE email LIKE 'ada@%'")
    roles = {who: (await says(living, event, "Hello!", who)).json()["author"]["role"] for who in ("coach", "admin")}
    assert roles == {"coach": "host", "admin": "admin"}
    assert (await says(living, event, "Hello!")).json()["author"] == {
        "member_id": "m-member",
        "name": "Mia Member",
        "role": "member",
    }


async def test_an_upvote_counts_once_for_each_member(living: Living) -> None:
    event = await live_evening(living, "member", "member2")
    question = (await asks(living, event, "Why?")).json()
    up = f"/api/questions/{question['id']}/upvote"
    both = await asyncio.gather(*(living.call(who, "PUT", up) for who in ("member", "member2") for _ in range(4)))
    assert {answer.status_code for answer in both} == {200}
    for who, upvoted in (("member", True), ("admin", False)):
        (listed,) = (await living.get(who, f"/api/events/{event['id']}/questions")).json()["items"]
        assert (listed["upvotes"], listed["upvoted"]) == (2, upvoted)
    assert (await living.call("member", "DELETE", up)).json()["upvotes"] == 1
    assert (await living.call("member", "DELETE", up)).json()["upvotes"] == 1
    told = await living.held.db.hot.fetchval("SELECT count(*) FROM live_log WHERE kind = 'upvote'")
    assert told == 3, "what is no news is not told"


async def test_nobody_floods_the_chat(living: Living) -> None:
    event = await live_evening(living, "member", "member2")
    await living.forward(timedelta(seconds=61 - living.clock.now().second))  # a minute has just begun
    limit = live_service.MOST["message"]
    said = await asyncio.gather(*(says(living, event, f"{n}") for n in range(limit + 3)))
    assert sorted(answer.status_code for answer in said) == [201] * limit + [429] * 3
    refused = next(answer for answer in said if answer.status_code == 429)
    assert slug(refused) == "too-many"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert (await says(living, event, "I am somebody else.", "member2")).status_code == 201
    asked = [(await asks(living, event, f"{n}?")).status_code for n in range(live_service.MOST["question"] + 1)]
    assert asked == [201] * live_service.MOST["question"] + [429]
    await living.forward(timedelta(seconds=int(refused.headers["retry-after"])))
    assert (await says(living, event, "Again.")).status_code == 201


async def test_the_same_request_again_says_nothing_twice(living: Living) -> None:
    event = await live_evening(living, "member")
    key = {"Idempotency-Key": "k-1"}
    first, again = [await says(living, event, "Hello!", headers=key) for _ in range(2)]
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert await chat(living, event) == ["Hello!"]
    other = await says(living, event, "Something else.", headers=key)
    assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")
    asked = [(await asks(living, event, "Why?", headers={"Idempotency-Key": "k-2"})).json()["id"] for _ in range(2)]
    assert asked[0] == asked[1]


async def test_what_was_deleted_is_not_said_again_to_its_author_nor_by_the_same_request(living: Living) -> None:
    event = await live_evening(living, "member")
    for write, kind in ((says, "messages"), (asks, "questions")):
        key = {"Idempotency-Key": kind}
        said = (await write(living, event, "My telephone number", headers=key)).json()
        assert (await living.call("admin", "DELETE", f"/api/{kind}/{said['id']}")).status_code == 204
        again = await write(living, event, "My telephone number", headers=key)
        assert (again.status_code, slug(again)) == (410, "deleted")
        assert (await living.get("member", f"/api/events/{event['id']}/{kind}")).json()["items"] == []
    kept = await living.held.db.hot.fetch("SELECT key, fingerprint, body FROM idempotency_keys WHERE key LIKE '%s'")
    assert sorted(map(tuple, kept)) == [("messages", "", None), ("questions", "", None)]


async def test_long_lists_come_in_pages_the_newest_first(living: Living) -> None:
    event = await live_evening(living, "member")
    for n in range(7):
        await says(living, event, f"{n}")
    read, cursor, path = [], None, f"/api/events/{event['id']}/messages"
    while True:
        params: dict[str, Any] = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await living.get("member", path, params=params)).json()
        read += [each["text"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert read == [str(n) for n in reversed(range(7))]


HOSTILE = '<script>alert(1)</script>&amp; "quoted"\ndata: {"id": 1}\n\nevent: closed'


async def test_what_is_written_stays_plain_text(living: Living) -> None:
    event = await live_evening(living, "member")
    assert (await says(living, event, HOSTILE)).json()["text"] == HOSTILE
    assert await chat(living, event) == [HOSTILE]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Hello!\x07\x1b[31m \u202eevil\u202c ", "Hello![31m evil"),
        ("one\r\ntwo\rthree\tfour", "one\ntwo\nthree\tfour"),
        ("👩‍👩‍👧 שלום", "👩‍👩‍👧 שלום"),
    ],
)
def test_control_characters_are_taken_out(typed: str, kept: str) -> None:
    assert plain(typed) == kept


async def test_a_message_that_says_nothing_or_too_much_is_a_wrong_field(living: Living) -> None:
    event = await live_evening(living, "member")
    for text in ("", " ", "\x07\n", "x" * 2001, "a\x00b"):
        answer = await says(living, event, text)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "text")
    assert (await says(living, event, "x" * 2000)).status_code == 201
    assert (await asks(living, event, "x" * 1001)).status_code == 422
