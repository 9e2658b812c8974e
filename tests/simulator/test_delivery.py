import hashlib
import hmac
import json

from fastapi import Response
from fastapi.responses import JSONResponse

from tests.simulator.conftest import Receiver
from tests.simulator.driver import SECRET, ZoomDriver, signed, wait_for_deliveries


async def test_server_errors_are_retried_and_told_again_until_they_end(live: ZoomDriver, receiver: Receiver) -> None:
    receiver.responses = [500, 503]
    await live.meeting()
    deliveries = await wait_for_deliveries(live)
    assert [(d["attempt"], d["status"], d["outcome"]) for d in deliveries] == [
        (1, 500, "to be retried"),
        (2, 503, "to be retried"),
        (3, 204, "delivered"),
    ]
    assert len({body for _, body in receiver.received}) == 1
    assert all(signed(SECRET, headers, body) for headers, body in receiver.received)


async def test_after_three_retries_zoom_gives_up(live: ZoomDriver, receiver: Receiver) -> None:
    receiver.responses = [500] * 9
    await live.meeting()
    deliveries = await wait_for_deliveries(live)
    assert [d["outcome"] for d in deliveries] == ["to be retried"] * 3 + ["given up"]


async def test_refusals_and_redirects_are_not_retried(live: ZoomDriver, receiver: Receiver) -> None:
    for status in (302, 401, 404, 429):
        receiver.responses = [status]
        await live.meeting()
        assert (await wait_for_deliveries(live))[-1]["outcome"] == "refused, not retried"
    assert len(receiver.received) == 4


async def test_an_answer_after_three_seconds_is_no_answer(live: ZoomDriver, receiver: Receiver) -> None:
    receiver.responses = [None]
    await live.meeting()
    deliveries = await wait_for_deliveries(live)
    assert [(d["status"], d["error"]) for d in deliveries] == [(None, "TimeoutError"), (204, None)]


async def test_nobody_at_the_endpoint_is_retried(live: ZoomDriver) -> None:
    await live.control("PUT", "/webhooks", {"url": "http://127.0.0.1:1/hook"})
    await live.meeting()
    deliveries = await wait_for_deliveries(live)
    assert [d["error"] for d in deliveries] == ["ConnectError"] * 4


async def test_retries_can_keep_their_first_signature(live: ZoomDriver, receiver: Receiver) -> None:
    await live.control("PUT", "/switches", {"retries_signed_anew": False})
    receiver.responses = [500]
    await live.meeting()
    await wait_for_deliveries(live)
    first, second = (headers["x-zm-signature"] for headers, _ in receiver.received)
    assert first == second


async def test_the_url_challenge_is_signed_and_its_answer_judged(live: ZoomDriver, receiver: Receiver) -> None:
    def right(body: bytes) -> Response:
        plain = json.loads(body)["payload"]["plainToken"]
        digest = hmac.new(SECRET.encode(), plain.encode(), hashlib.sha256).hexdigest()
        return JSONResponse({"plainToken": plain, "encryptedToken": digest})

    receiver.respond = right
    assert (await live.control("POST", "/webhooks/validate"))["valid"]
    headers, body = receiver.received[-1]
    assert signed(SECRET, headers, body)
    receiver.respond = lambda _: JSONResponse({"plainToken": "x", "encryptedToken": "y"})
    assert not (await live.control("POST", "/webhooks/validate"))["valid"]


async def test_any_notification_can_be_signed_and_delivered(live: ZoomDriver, receiver: Receiver) -> None:
    raw = '{ "event":"x.y",  "payload":{"account_id":"a\\/b"} }'
    receiver.responses = [202]
    result = await live.control("POST", "/notifications", {"body": raw, "secret": "other", "timestamp": "1"})
    assert result["status"] == 202
    headers, body = receiver.received[-1]
    assert body == raw.encode()
    assert headers["x-zm-request-timestamp"] == "1"
    assert signed("other", headers, body)


async def test_notifications_can_be_lost_late_and_doubled(live: ZoomDriver, receiver: Receiver) -> None:
    faults = [
        {"events": ["meeting.created"], "lost": True},
        {"events": ["meeting.started"], "late_seconds": 2},
        {"events": ["meeting.ended"], "copies": 2},
    ]
    await live.control("PUT", "/faults", {"notifications": faults})
    meeting = await live.meeting()
    await live.control("POST", f"/meetings/{meeting['id']}/start", {"host_joins": False})
    await live.control("POST", f"/meetings/{meeting['id']}/end")
    deliveries = await wait_for_deliveries(live)
    assert receiver.events() == ["meeting.ended", "meeting.ended", "meeting.started"]
    assert len({body for _, body in receiver.received}) == 2
    assert [d["outcome"] for d in deliveries if d["event"] == "meeting.created"] == ["lost"]


async def test_notifications_can_be_shuffled(live: ZoomDriver, receiver: Receiver) -> None:
    await live.control("PUT", "/faults", {"notifications": [{"shuffled": True, "times": None}]})
    topics = [f"Choir {number}" for number in range(12)]
    for topic in topics:
        await live.meeting(topic=topic)
    assert receiver.received == []
    await wait_for_deliveries(live)
    arrived = [document["payload"]["object"]["topic"] for document in receiver.documents("meeting.created")]
    assert sorted(arrived) == sorted(topics)
    assert arrived != topics


async def test_idle_says_when_it_waited_in_vain(live: ZoomDriver, receiver: Receiver) -> None:
    await live.control("PUT", "/faults", {"notifications": [{"late_seconds": 1}]})
    await live.meeting()
    answer = await live.http.post("/simulator/idle?timeout=0.1")
    assert answer.status_code == 504
    await wait_for_deliveries(live)
    assert receiver.events() == ["meeting.created"]


async def test_an_endpoint_that_is_no_url_is_given_up(live: ZoomDriver) -> None:
    await live.control("PUT", "/webhooks", {"url": "not a url"})
    await live.meeting()
    assert (await wait_for_deliveries(live))[-1]["outcome"] == "given up"
