import asyncio
import re
import time
from typing import Any

import httpx
import pytest

from tests.simulator.driver import ZoomDriver


async def fault(zoom: ZoomDriver, **fields: Any) -> None:
    """Set one fault in place of all others."""
    await zoom.control("PUT", "/faults", {"calls": [fields]})


async def test_a_lost_answer_leaves_the_effect(live: ZoomDriver) -> None:
    await fault(live, kind="lose_answer", operation="meetingCreate")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await live.call("POST", "/users/me/meetings", {"topic": "Made"})
    (made,) = (await live.control("GET", "/state"))["meetings"]
    assert made["topic"] == "Made"
    (entry,) = await live.control("GET", "/journal?operation=meetingCreate")
    assert (entry["status"], entry["fault"]) == (None, "lose_answer")
    assert (await live.call("POST", "/users/me/meetings", {})).status_code == 201


async def test_a_connection_closed_before_leaves_nothing(live: ZoomDriver) -> None:
    await fault(live, kind="close_before", operation="meetingCreate")
    with pytest.raises(httpx.RemoteProtocolError):
        await live.call("POST", "/users/me/meetings", {})
    assert (await live.control("GET", "/state"))["meetings"] == []


async def test_in_process_a_closed_connection_looks_the_same(connected: ZoomDriver) -> None:
    await fault(connected, kind="lose_answer", operation="user")
    with pytest.raises(httpx.RemoteProtocolError):
        await connected.call("GET", "/users/me")


async def test_a_lost_refresh_has_rotated_the_token(live: ZoomDriver) -> None:
    tokens = await live.connect()
    await fault(live, kind="lose_answer", operation="oauthRefresh")
    with pytest.raises(httpx.RemoteProtocolError):
        await live.refresh(tokens["refresh_token"])
    assert (await live.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_the_next_calls_of_an_operation_answer_a_status(connected: ZoomDriver) -> None:
    await fault(connected, kind="status", operation="user", status=503, times=2)
    assert (await connected.call("GET", "/users")).status_code == 200
    answers = [await connected.call("GET", "/users/me") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].headers["content-type"].startswith("text/html")


async def test_a_status_can_bring_a_body(connected: ZoomDriver) -> None:
    await fault(connected, kind="status", status=500, body={"code": 500, "message": "Internal."})
    answer = await connected.call("GET", "/users/me")
    assert (answer.status_code, answer.json()["message"]) == (500, "Internal.")


async def test_a_share_of_the_calls_can_fail(connected: ZoomDriver) -> None:
    await fault(connected, kind="status", rate=0.5, times=None)
    statuses = [(await connected.call("GET", "/users/me")).status_code for _ in range(60)]
    assert {200, 500} == set(statuses)


@pytest.mark.parametrize(
    ("form", "looks_like"),
    [("none", None), ("seconds", r"\d+"), ("iso", r".*T00:00:00Z"), ("http-date", r".* 00:00:00 GMT")],
)
async def test_a_daily_limit_names_its_end_in_every_form(
    connected: ZoomDriver, form: str, looks_like: str | None
) -> None:
    await fault(connected, kind="rate_per_day", retry_after=form)
    answer = await connected.call("GET", "/users")
    assert (answer.status_code, answer.json()["code"]) == (429, 429)
    assert answer.headers["x-ratelimit-category"] == "Medium"
    assert ("retry-after" in answer.headers) == (looks_like is not None)
    if looks_like is not None:
        assert re.fullmatch(looks_like, answer.headers["retry-after"])


async def test_tokens_can_expire_at_will(connected: ZoomDriver) -> None:
    await fault(connected, kind="expired_token")
    assert (await connected.call("GET", "/users/me")).json()["message"] == "Access token is expired."
    assert (await connected.call("GET", "/users/me")).status_code == 200


async def test_a_refresh_can_be_refused_at_will(zoom: ZoomDriver) -> None:
    tokens = await zoom.connect()
    await fault(zoom, kind="invalid_grant", operation="oauthRefresh")
    assert (await zoom.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await zoom.refresh(tokens["refresh_token"])).status_code == 200


async def test_latency_is_added_to_every_call_or_to_some(connected: ZoomDriver) -> None:
    await connected.control("PUT", "/faults", {"latency_seconds": 0.2})
    began = time.monotonic()
    await connected.call("GET", "/users/me")
    assert time.monotonic() - began >= 0.2
    await fault(connected, kind="latency", operation="users", seconds=0.2)
    began = time.monotonic()
    assert (await connected.call("GET", "/users")).status_code == 200
    assert time.monotonic() - began >= 0.2


async def test_a_latency_ends_when_other_faults_are_set(connected: ZoomDriver) -> None:
    await fault(connected, kind="latency", operation="users", seconds=600)
    waiting = asyncio.create_task(connected.call("GET", "/users"))
    while (await connected.control("GET", "/state"))["faults"]["calls"][0]["times"]:
        assert not waiting.done()
    await connected.control("PUT", "/faults", {})
    assert (await waiting).status_code == 200


async def test_a_misspelt_fault_is_refused_by_name(zoom: ZoomDriver) -> None:
    answer = await zoom.http.put("/simulator/faults", json={"calls": [{"kind": "status", "tmes": 2}]})
    assert answer.status_code == 422
    assert "tmes" in answer.text
