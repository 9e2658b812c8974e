"""The calls: what the client sends, what it returns, paging, and that nothing is repeated."""

import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import respx

from app.clients.zoom import (
    AccountClient,
    BadAnswer,
    MissingScopes,
    NoAnswer,
    NotFound,
    NotSent,
    OutcomeUnknown,
    PageTokenExpired,
    RateLimited,
    UntrustedHost,
    Zoom,
    ZoomError,
)
from tests.clients.zoom.conftest import API, FakeTokens

PAGE_GONE = {"code": 300, "message": "The next page token is invalid or expired."}
STARTS = datetime(2026, 12, 1, 9, tzinfo=UTC)


def page(*ids: str, token: str = "") -> httpx.Response:
    return httpx.Response(200, json={"users": [{"id": id_, "type": 1} for id_ in ids], "next_page_token": token})


def queries(route: respx.Route) -> list[dict[str, str]]:
    return [dict(call.request.url.params) for call in route.calls]


async def users(account: AccountClient) -> list[str]:
    return [user.id async for user in account.list_users()]


async def test_a_meeting_is_made(api: respx.MockRouter, account: AccountClient) -> None:
    route = api.post(f"{API}/v2/users/host-1/meetings").respond(201, json={"id": 85746065432, "uuid": "/a=="})
    made = await account.create_meeting(
        "host-1", {"topic": "T", "start_time": STARTS, "settings": {"approval_type": 1}}
    )
    assert (made.id, made.uuid) == (85746065432, "/a==")
    assert json.loads(route.calls.last.request.content) == {
        "topic": "T",
        "start_time": "2026-12-01T09:00:00Z",
        "settings": {"approval_type": 1},
    }


async def test_a_meeting_is_changed_read_and_deleted(api: respx.MockRouter, account: AccountClient) -> None:
    url = f"{API}/v2/meetings/85746065432"
    changed = api.patch(url).respond(204)
    api.get(url).respond(json={"id": 85746065432, "topic": "New"})
    deleted = api.delete(url).respond(204)
    await account.update_meeting("85746065432", {"topic": "New"})
    assert (await account.get_meeting(85746065432)).topic == "New"
    await account.delete_meeting(85746065432)
    assert json.loads(changed.calls.last.request.content) == {"topic": "New"}
    assert queries(deleted) == [{"schedule_for_reminder": "false", "cancel_meeting_reminder": "false"}]


async def test_deleting_what_is_gone_says_so_with_zooms_code(api: respx.MockRouter, account: AccountClient) -> None:
    api.delete(f"{API}/v2/meetings/1").respond(404, json={"code": 3001, "message": "Meeting does not exist: 1."})
    with pytest.raises(NotFound) as caught:
        await account.delete_meeting(1)
    assert caught.value.code == 3001


async def test_a_registrant_is_added_with_and_without_a_link(api: respx.MockRouter, account: AccountClient) -> None:
    answers = [
        {"id": 1, "registrant_id": "r1", "join_url": "https://zoom.us/w/1?tk=2"},
        {"id": 1, "registrant_id": "r2"},
    ]
    route = api.post(f"{API}/v2/meetings/1/registrants").mock(
        side_effect=[httpx.Response(201, json=answer) for answer in answers]
    )
    added = await account.add_registrant(1, {"email": "m@example.com", "first_name": "M", "auto_approve": True})
    pending = await account.add_registrant(1, {"email": "n@example.com", "first_name": "N"})
    assert (added.registrant_id, added.join_url) == ("r1", "https://zoom.us/w/1?tk=2")
    assert (pending.registrant_id, pending.join_url) == ("r2", None)
    assert json.loads(route.calls[0].request.content)["auto_approve"] is True


async def test_thirty_people_are_added_by_one_call_and_entries_that_name_nobody_are_left_out(
    api: respx.MockRouter, account: AccountClient
) -> None:
    entries = [
        {"email": "m@example.com", "registrant_id": "r1", "join_url": "https://zoom.us/w/1?tk=2"},
        {"email": "n@example.com", "registrant_id": "r2"},
        {"email": "o@example.com"},
        {},
    ]
    route = api.post(f"{API}/v2/meetings/1/batch_registrants").respond(201, json={"registrants": entries})
    added = await account.add_registrants(
        1, [{"email": "m@example.com", "first_name": "M", "last_name": "N", "auto_approve": True}]
    )
    assert [(one.email, one.registrant_id, one.join_url is None) for one in added] == [
        ("m@example.com", "r1", False),
        ("n@example.com", "r2", True),
    ]
    assert json.loads(route.calls.last.request.content) == {
        "auto_approve": True,
        "registrants_confirmation_email": False,
        "registrants": [{"email": "m@example.com", "first_name": "M", "last_name": "N"}],
    }


@pytest.mark.parametrize("number", [0, 31])
async def test_no_more_than_thirty_people_are_added_at_once(account: AccountClient, number: int) -> None:
    with pytest.raises(ValueError, match="people: 1 to 30"):
        await account.add_registrants(1, [{"email": "m@example.com", "first_name": "M"}] * number)


async def test_registrants_change_status_together(api: respx.MockRouter, account: AccountClient) -> None:
    route = api.put(f"{API}/v2/meetings/1/registrants/status").respond(204)
    await account.set_registrants_status(1, "cancel", [{"id": "r1", "email": "m@example.com"}])
    sent = json.loads(route.calls.last.request.content)
    assert sent == {"action": "cancel", "registrants": [{"id": "r1", "email": "m@example.com"}]}


@pytest.mark.parametrize("number", [0, 31])
async def test_no_more_than_thirty_registrants_change_at_once(account: AccountClient, number: int) -> None:
    with pytest.raises(ValueError, match="registrants: 1 to 30"):
        await account.set_registrants_status(1, "approve", [{"id": "r"}] * number)


async def test_settings_and_lists_are_read(api: respx.MockRouter, account: AccountClient) -> None:
    api.get(f"{API}/v2/users/u/settings").respond(json={"recording": {"cloud_recording": True}})
    meetings = api.get(f"{API}/v2/users/u/meetings").respond(json={"meetings": [{"id": 1}, {"id": 2}]})
    people = api.get(f"{API}/v2/meetings/1/registrants").respond(json={"registrants": [{"id": "r"}]})
    assert (await account.get_user_settings("u")).recording.cloud_recording
    assert [meeting.id async for meeting in account.list_meetings("u", "upcoming")] == [1, 2]
    assert [one.registrant_id async for one in account.list_registrants(1, "pending")] == ["r"]
    assert queries(meetings) == [{"type": "upcoming", "page_size": "300"}]
    assert queries(people) == [{"status": "pending", "page_size": "300"}]


async def test_pages_follow_each_other_with_the_same_parameters(api: respx.MockRouter, account: AccountClient) -> None:
    route = api.get(f"{API}/v2/users").mock(side_effect=[page("a", "b", token="t/1"), page("c", token="t2"), page("d")])
    assert await users(account) == ["a", "b", "c", "d"]
    assert queries(route) == [
        {"page_size": "300"},
        {"page_size": "300", "next_page_token": "t/1"},
        {"page_size": "300", "next_page_token": "t2"},
    ]


async def test_a_forgotten_place_starts_the_list_over_and_nobody_comes_twice(
    api: respx.MockRouter, account: AccountClient
) -> None:
    answers = [page("a", token="t1"), httpx.Response(400, json=PAGE_GONE), page("a", "b", token="t1"), page("c")]
    api.get(f"{API}/v2/users").mock(side_effect=answers)
    assert await users(account) == ["a", "b", "c"]


async def test_a_place_forgotten_again_is_not_sought_for_ever(api: respx.MockRouter, account: AccountClient) -> None:
    answers = [page("a", token="t1"), httpx.Response(400, json=PAGE_GONE)] * 2
    route = api.get(f"{API}/v2/users").mock(side_effect=answers)
    with pytest.raises(PageTokenExpired) as caught:
        await users(account)
    assert (route.call_count, caught.value.retry) == (4, "backoff")


async def test_pages_that_go_in_a_circle_end(api: respx.MockRouter, account: AccountClient) -> None:
    route = api.get(f"{API}/v2/users").mock(side_effect=[page("a", token="t1"), page("b", token="t1")])
    with pytest.raises(BadAnswer):
        await users(account)
    assert route.call_count == 2


async def test_a_recording_is_there_while_a_file_of_it_is_outside_the_trash(
    api: respx.MockRouter, account: AccountClient
) -> None:
    file = {"id": "f", "file_type": "MP4", "download_url": "https://zoom.us/rec/download/the-secret"}
    trashed = file | {"deleted_time": "2026-12-01T12:00:00Z"}
    answers = [{"uuid": "a==", "recording_files": files} for files in ([trashed, file], [trashed], [], None)]
    route = api.get(f"{API}/v2/meetings/a%3D%3D/recordings").mock(
        side_effect=[httpx.Response(200, json=answer) for answer in answers]
    )
    read = [await account.get_recordings("a==") for _ in answers]
    assert [recording.available for recording in read] == [True, False, False, False]
    assert "the-secret" not in repr(read)
    assert queries(route) == [{}] * 4


async def test_no_recording_is_zooms_own_word_for_not_yet(api: respx.MockRouter, account: AccountClient) -> None:
    refused = {"code": 3301, "message": "There is no recording for this meeting."}
    api.get(f"{API}/v2/meetings/a%3D%3D/recordings").respond(404, json=refused)
    with pytest.raises(NotFound) as caught:
        await account.get_recordings("a==")
    assert caught.value.code == 3301


Call = Callable[[AccountClient], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "create": lambda account: account.create_meeting("me", {"topic": "T"}),
    "read": lambda account: account.get_meeting(1),
    "add": lambda account: account.add_registrant(1, {"email": "m@x.example", "first_name": "M"}),
}


@pytest.mark.parametrize(
    ("call", "failure", "kind", "retry"),
    [
        ("create", httpx.ConnectError("x"), NotSent, "backoff"),
        ("create", httpx.ConnectTimeout("x"), NotSent, "backoff"),
        ("create", httpx.PoolTimeout("x"), NotSent, "backoff"),
        ("create", httpx.ReadTimeout("x"), OutcomeUnknown, "unknown"),
        ("create", httpx.WriteTimeout("x"), OutcomeUnknown, "unknown"),
        ("create", httpx.ReadError("x"), OutcomeUnknown, "unknown"),
        ("create", httpx.RemoteProtocolError("x"), OutcomeUnknown, "unknown"),
        ("create", httpx.Response(500), OutcomeUnknown, "unknown"),
        ("create", httpx.Response(201, text="<html>"), OutcomeUnknown, "unknown"),
        ("create", httpx.Response(201, json={"topic": "no id"}), OutcomeUnknown, "unknown"),
        ("create", httpx.Response(429), RateLimited, "at"),
        ("read", httpx.ConnectError("x"), NotSent, "backoff"),
        ("read", httpx.ReadTimeout("x"), NoAnswer, "backoff"),
        ("read", httpx.Response(200, json={"topic": "no id"}), BadAnswer, "backoff"),
        ("add", httpx.ReadTimeout("x"), NoAnswer, "backoff"),
        ("add", httpx.Response(400, json={"code": 4711}), MissingScopes, "when_reconnected"),
    ],
    ids=repr,
)
async def test_nothing_is_repeated_and_the_error_says_what_may_be(
    api: respx.MockRouter,
    account: AccountClient,
    call: str,
    failure: httpx.Response | Exception,
    kind: type[ZoomError],
    retry: str,
) -> None:
    route = api.route(host="api.zoom.us").mock(side_effect=[failure])
    with pytest.raises(ZoomError) as caught:
        await CALLS[call](account)
    assert (type(caught.value), caught.value.retry, route.call_count) == (kind, retry, 1)


async def test_a_cookie_does_not_travel_from_one_account_to_another(api: respx.MockRouter, zoom: Zoom) -> None:
    route = api.get(f"{API}/v2/users/me").respond(json={"id": "u", "type": 1}, headers={"Set-Cookie": "cred=A; Path=/"})
    await zoom.account(FakeTokens("one")).get_me()
    await zoom.account(FakeTokens("other")).get_me()
    assert ["Cookie" in call.request.headers for call in route.calls] == [False, False]


async def test_calls_go_to_the_accounts_region(api: respx.MockRouter, zoom: Zoom) -> None:
    api.get("https://api-eu.zoom.us/v2/users/me").respond(json={"id": "u", "type": 1})
    assert (await zoom.account(FakeTokens("t"), "https://api-eu.zoom.us").get_me()).id == "u"


def test_no_token_goes_to_a_foreign_host(zoom: Zoom) -> None:
    with pytest.raises(UntrustedHost):
        zoom.account(FakeTokens("t"), "https://api.zoom.us.example.com")


async def test_no_secret_is_in_an_error_or_a_log_line(
    api: respx.MockRouter, account: AccountClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = {
        "start_url": "https://zoom.us/s/1?zak=the-zak",
        "password": "the-pass",
        "join_url": "https://zoom.us/j/1",
    }
    api.get(f"{API}/v2/meetings/1").mock(
        side_effect=[
            httpx.Response(200, json={"id": 1, **secrets}),
            httpx.Response(200, json={"id": "wrong", **secrets}),
            httpx.ReadTimeout("x"),
        ]
    )
    text = repr(await account.get_meeting(1))
    for _ in range(2):
        with pytest.raises(ZoomError) as caught:
            await account.get_meeting(1)
        # A log shows chained errors too, and those of httpx and pydantic contain the secrets.
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        text += f"{caught.value!r} {vars(caught.value)}"
    assert [secret for secret in ("the-zak", "the-pass", "zoom.us/j", "access-1") if secret in text + caplog.text] == []
