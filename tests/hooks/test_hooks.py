"""The platform receives what happened: signed, retried until delivered, and no tenant delays another."""

import asyncio
import io
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, get_args
from uuid import uuid4

import pytest
import structlog

from app.cli.documents import PLACEHOLDER_SETTINGS
from app.core import logs
from app.hooks import retry_schedule
from app.hooks import service as hooks_service
from app.hooks.payloads import TEST_KIND, Kind
from app.hooks.service import MAX_ENDPOINTS
from app.main import create_app
from tests.hooks.receiver import NAME, OTHER, PUBLIC, Receiver, signature, signatures
from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import change
from tests.support.timeouts import TIMEOUT

BASE = f"/api/communities/{COMMUNITY['slug']}/hooks"
EVERYTHING = list(get_args(Kind))
ADA = "ada@riverside.example"


async def create_hook(service: RunningService, url: str, *kinds: str) -> Any:
    """Create a hook; returns it with its secret."""
    response = await service.post("admin", BASE, {"url": url, "kinds": list(kinds) or EVERYTHING})
    assert response.status_code == 201, response.text
    return response.json()


async def send_test(service: RunningService, hook: Any, *, wait: bool = True) -> str:
    """Request a test message, and return its id."""
    response = await service.post("admin", f"{BASE}/{hook['id']}/test")
    assert response.status_code == 202, response.text
    if wait:
        await service.wait_idle()
    return str(response.json()["message_id"])


async def list_messages(service: RunningService, hook: Any) -> list[Any]:
    """Return the hook's messages, the newest first."""
    response = await service.get("admin", f"{BASE}/{hook['id']}/attempts")
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


async def get_hook(service: RunningService, hook: Any) -> Any:
    """Return the hook as admins see it now."""
    response = await service.get("admin", f"{BASE}/{hook['id']}")
    assert response.status_code == 200, response.text
    return response.json()


async def advance(service: RunningService, **by: float) -> None:
    """Advance the clock, and do what became due."""
    await service.advance_clock(timedelta(**by))
    await service.wait_idle()


def received_messages(receiver: Receiver, path: str = "/hook") -> list[tuple[str, Any]]:
    """Return type and data of what was received on a path."""
    return [(message.json["type"], message.json["data"]) for message in receiver.received_on(path)]


async def answer_rsvp(service: RunningService, event: Any, status: str, who: str = "member") -> None:
    """Answer an event, and wait until everything is done."""
    answer = await service.call(who, "PUT", f"/api/events/{event['id']}/rsvp", json={"status": status})
    assert answer.status_code == 200, answer.text
    await service.wait_idle()


async def test_a_test_message_arrives_signed_and_is_listed(service: RunningService, receiver: Receiver) -> None:
    hook = await create_hook(service, receiver.url())
    message_id = await send_test(service, hook)
    (got,) = receiver.received_on()
    assert got.id == message_id
    assert signatures(got) == [signature(hook["secret"], got)]
    assert abs(int(got.headers["webhook-timestamp"]) - service.clock.now().timestamp()) < 60
    assert got.json["type"] == "hook.test"
    assert got.json["data"] == {"community_id": COMMUNITY["id"], "hook_id": hook["id"]}
    (message,) = await list_messages(service, hook)
    assert (message["message_id"], message["kind"], message["state"]) == (message_id, "hook.test", "delivered")
    assert [(each["status"], each["problem"]) for each in message["attempts"]] == [(204, None)]
    assert message["next_at"] is None


async def test_a_meeting_that_starts_and_ends_is_told_with_ids_and_states(
    service: RunningService, receiver: Receiver
) -> None:
    await service.connect()
    await create_hook(service, receiver.url(), "event.live", "event.ended")
    await create_hook(service, receiver.url("/others"), "registration.changed")
    event = await service.create_event()
    meeting = f"/simulator/meetings/{event['zoom']['meeting_id']}"
    for rehearsal in ("start", "end"):
        (await service.zoom.post(f"{meeting}/{rehearsal}")).raise_for_status()
        await service.wait_idle()
    about = {"community_id": COMMUNITY["id"], "event_id": event["id"]}
    live, ended = ("event.live", about | {"status": "live"}), ("event.ended", about | {"status": "ended"})
    rehearsed = ("event.ended", about | {"status": "scheduled"})
    assert received_messages(receiver) == [live, rehearsed], "after a rehearsal the event is still to come"
    await advance(service, days=1, minutes=10)
    (await service.zoom.post(f"{meeting}/start")).raise_for_status()
    await service.wait_idle()
    (await service.zoom.post(f"{meeting}/end")).raise_for_status()
    await service.wait_idle()
    assert received_messages(receiver) == [live, rehearsed, live, ended]
    assert received_messages(receiver, "/others") == []


async def test_the_attendance_is_final_once_zoom_reported_or_cannot_say_any_more(
    service: RunningService, receiver: Receiver
) -> None:
    await service.connect()
    await create_hook(service, receiver.url(), "attendance.final")
    event = await service.create_event()
    meeting = f"/simulator/meetings/{event['zoom']['meeting_id']}"
    await advance(service, days=1, minutes=10)
    for what in ("start", "end"):
        (await service.zoom.post(f"{meeting}/{what}")).raise_for_status()
        await service.wait_idle()
    await advance(service, minutes=85)
    assert received_messages(receiver) == []
    await advance(service, minutes=6)
    ((kind, data),) = received_messages(receiver)
    assert (kind, data.keys()) == ("attendance.final", {"community_id", "event_id", "ended_at", "present", "attended"})
    assert data["event_id"] == event["id"]
    await advance(service, hours=12)
    assert len(received_messages(receiver)) == 1


async def test_recordings_can_be_asked_for_before_there_are_any(service: RunningService, receiver: Receiver) -> None:
    hook = await create_hook(service, receiver.url(), "recording.ready", "recording.published")
    assert hook["kinds"] == ["recording.ready", "recording.published"]


async def test_answers_are_told_without_names_or_addresses_and_only_when_they_changed(
    service: RunningService, receiver: Receiver
) -> None:
    await service.connect()
    await create_hook(service, receiver.url(), "registration.changed")
    event = await service.create_event(capacity=1)
    await answer_rsvp(service, event, "going")
    await answer_rsvp(service, event, "going")
    await answer_rsvp(service, event, "going", "member2")
    await answer_rsvp(service, event, "not_going")
    rsvps = [(data["member_id"], data["rsvp"], data["waiting"]) for _, data in received_messages(receiver)]
    assert rsvps[:2] == [("m-member", "going", False), ("m-member2", "going", True)]
    assert sorted(rsvps[2:]) == [("m-member", "not_going", False), ("m-member2", "going", False)]
    everything = b"".join(got.body for got in receiver.received).decode()
    for personal in ("@", "http", "Mia", "Max"):
        assert personal not in everything


async def test_a_guest_is_told_without_the_id_that_only_stands_for_one(
    service: RunningService, receiver: Receiver
) -> None:
    await service.connect()
    await create_hook(service, receiver.url(), "registration.changed")
    event = await service.create_event()
    guest = {"email": "gus@guests.example", "name": "Gus Guest"}
    assert (await service.post("admin", f"/api/events/{event['id']}/guests", guest)).status_code == 201
    await service.wait_idle()
    assert [data["member_id"] for _, data in received_messages(receiver)] == [None]


async def test_a_host_who_has_not_come_five_minutes_after_the_start_is_told_once(
    service: RunningService, receiver: Receiver
) -> None:
    await service.connect()
    await create_hook(service, receiver.url(), "event.host_missing")
    event = await service.create_event()
    await advance(service, days=1, minutes=6)
    await change(service, event, title="Another evening")
    data = {"community_id": COMMUNITY["id"], "event_id": event["id"], "status": "scheduled"}
    assert received_messages(receiver) == [("event.host_missing", data)]


async def test_a_dead_connection_is_told_once(service: RunningService, receiver: Receiver) -> None:
    account = await service.connect()
    await create_hook(service, receiver.url(), "account.needs_reauth")
    event = await service.create_event()
    (await service.zoom.post("/simulator/deauthorize", json={"user": ADA, "notify": False})).raise_for_status()
    await change(service, event, title="Another evening")
    await change(service, event, title="Yet another evening")
    data = {"community_id": COMMUNITY["id"], "account_id": account["id"], "status": "needs_reauth"}
    assert received_messages(receiver) == [("account.needs_reauth", data)]


async def test_what_did_not_arrive_is_sent_again_with_the_same_id_and_body(
    service: RunningService, receiver: Receiver
) -> None:
    hook = await create_hook(service, receiver.url())
    receiver.statuses["/hook"] = 503
    await send_test(service, hook)
    (message,) = await list_messages(service, hook)
    assert (message["state"], [each["status"] for each in message["attempts"]]) == ("waiting", [503])
    assert "sesame" not in str(message), "of an endpoint's response only the status is shown"
    await advance(service, seconds=7)
    assert len(receiver.received_on()) == 2
    receiver.statuses["/hook"] = 204
    await advance(service, minutes=1)
    assert len(receiver.received_on()) == 2, "the second pause is 5 minutes"
    await advance(service, minutes=7)
    assert len({(got.id, got.body) for got in receiver.received_on()}) == 1
    assert len({got.headers["webhook-timestamp"] for got in receiver.received_on()}) == 3
    assert all(signatures(got) == [signature(hook["secret"], got)] for got in receiver.received_on())
    (message,) = await list_messages(service, hook)
    assert (message["state"], [each["status"] for each in message["attempts"]]) == ("delivered", [503, 503, 204])


async def test_what_never_arrives_is_given_up_visibly_and_can_be_sent_by_hand(
    service: RunningService, receiver: Receiver
) -> None:
    hook = await create_hook(service, receiver.url())
    receiver.statuses["/hook"] = 500
    message_id = await send_test(service, hook)
    for hours in (1, 1, 1, 3, 6, 12, 16, 23, 27):
        await advance(service, hours=hours)
    (message,) = await list_messages(service, hook)
    assert (message["state"], message["next_at"], len(message["attempts"])) == ("given_up", None, 10)
    dead = await service.resources.db.pool.fetch("SELECT key, reason FROM outbox WHERE dead_at IS NOT NULL")
    assert [(row["key"], row["reason"]) for row in dead] == [
        (message_id, "RetryLater: given up: the endpoint answered 500")
    ]
    receiver.statuses["/hook"] = 204
    again = await service.post("admin", f"{BASE}/{hook['id']}/redeliver", {"message_id": message_id})
    assert (again.status_code, again.json()) == (202, {"message_id": message_id})
    await service.wait_idle()
    assert {got.id for got in receiver.received_on()} == {message_id}
    (message,) = await list_messages(service, hook)
    assert (message["state"], len(message["attempts"])) == ("delivered", 11)
    assert await service.resources.db.pool.fetchval("SELECT count(*) FROM outbox WHERE job = 'hooks.send'") == 0


async def test_what_waits_or_arrived_is_sent_again_at_once_when_asked(
    service: RunningService, receiver: Receiver
) -> None:
    hook = await create_hook(service, receiver.url())
    receiver.statuses["/hook"] = 503
    message_id = await send_test(service, hook)
    await advance(service, seconds=7)
    receiver.statuses["/hook"] = 204
    for sendings in (3, 4):
        answer = await service.post("admin", f"{BASE}/{hook['id']}/redeliver", {"message_id": message_id})
        assert answer.status_code == 202
        await service.wait_idle()
        assert [got.id for got in receiver.received_on()] == [message_id] * sendings
        assert (await list_messages(service, hook))[0]["state"] == "delivered"


async def test_what_is_asked_for_while_a_sending_fails_does_not_wait_for_the_next(
    service: RunningService, receiver: Receiver
) -> None:
    hook = await create_hook(service, receiver.url("/slow"))
    receiver.statuses["/slow"] = 504
    message_id = await send_test(service, hook, wait=False)
    await receiver.slow_requested.wait()
    answer = await service.post("admin", f"{BASE}/{hook['id']}/redeliver", {"message_id": message_id})
    assert answer.status_code == 202
    receiver.slow_release.set()
    await service.wait_idle()
    assert [got.id for got in receiver.received_on("/slow")] == [message_id] * 2
    await advance(service, minutes=4)
    assert len(receiver.received_on("/slow")) == 2, "nobody asked again, so the pause counts"


async def test_only_the_hooks_own_messages_are_sent_again(service: RunningService, receiver: Receiver) -> None:
    hook, other = await create_hook(service, receiver.url()), await create_hook(service, receiver.url("/other"))
    foreign = await send_test(service, other)
    for message_id in (foreign, str(uuid4())):
        answer = await service.post("admin", f"{BASE}/{hook['id']}/redeliver", {"message_id": message_id})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "message_id"
    assert receiver.received_on() == []


async def test_a_redirect_is_a_failure_and_not_followed(service: RunningService, receiver: Receiver) -> None:
    hook = await create_hook(service, receiver.url("/redirect"))
    await send_test(service, hook)
    (message,) = await list_messages(service, hook)
    assert (message["state"], message["attempts"][0]["status"]) == ("waiting", 302)
    assert [got.path for got in receiver.received] == ["/redirect"]


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.8", "169.254.169.254", "::1", "fd00::8", "::ffff:10.0.0.8"])
async def test_an_address_that_is_private_is_refused_when_a_hook_is_made_or_changed(
    service: RunningService, receiver: Receiver, address: str
) -> None:
    receiver.resolver.addresses["inside.example"] = [address]
    hook = await create_hook(service, receiver.url())
    literal = f"https://[{address}]/" if ":" in address else f"https://{address}/"
    receiver.resolver.addresses[address] = [address]
    for url in ("https://inside.example/", literal):
        body = {"url": url, "kinds": ["event.live"]}
        for answer in (
            await service.post("admin", BASE, body),
            await service.patch("admin", f"{BASE}/{hook['id']}", {"url": url}),
        ):
            assert answer.status_code == 422, answer.text
            assert answer.json()["errors"][0]["field"] == "url"
    assert (await get_hook(service, hook))["url"] == receiver.url()


async def test_a_name_that_leads_inside_later_is_refused_when_a_message_is_sent(
    service: RunningService, receiver: Receiver
) -> None:
    """DNS rebinding: the check at the hook's creation proves nothing about later."""
    receiver.resolver.addresses["rebinding.example"] = [PUBLIC]
    hook = await create_hook(service, "https://rebinding.example/hook")
    receiver.resolver.addresses["rebinding.example"] = ["127.0.0.1"]
    await send_test(service, hook)
    (message,) = await list_messages(service, hook)
    assert message["state"] == "waiting"
    assert [(each["status"], each["problem"]) for each in message["attempts"]] == [
        (None, "its host name leads to no server on the public internet")
    ]


async def test_an_endpoint_that_is_gone_is_switched_off_until_an_admin_says_otherwise(
    service: RunningService, receiver: Receiver
) -> None:
    hook = await create_hook(service, receiver.url())
    receiver.statuses["/hook"] = 503
    waiting = await send_test(service, hook)
    receiver.statuses["/hook"] = 410
    await send_test(service, hook)
    now = await get_hook(service, hook)
    assert (now["enabled"], "410" in now["disabled_reason"]) == (False, True)
    await advance(service, minutes=1)
    assert len(receiver.received_on()) == 2, "what waited for it is not sent any more"
    assert {message["state"] for message in await list_messages(service, hook)} == {"given_up"}
    for path, body in (("test", None), ("redeliver", {"message_id": waiting})):
        refused = await service.post("admin", f"{BASE}/{hook['id']}/{path}", body)
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "hook-disabled")
    await service.connect()
    await answer_rsvp(service, await service.create_event(), "going")
    assert len(receiver.received_on()) == 2, "it receives nothing"
    receiver.statuses["/hook"] = 204
    on = await service.patch("admin", f"{BASE}/{hook['id']}", {"enabled": True})
    assert (on.json()["enabled"], on.json()["disabled_reason"]) == (True, None)
    await send_test(service, hook)
    assert len(receiver.received_on()) == 3


async def test_after_a_rotation_both_secrets_sign_for_a_day_and_then_the_new_one_alone(
    service: RunningService, receiver: Receiver
) -> None:
    hook = await create_hook(service, receiver.url())
    rotated = (await service.post("admin", f"{BASE}/{hook['id']}/rotate")).json()
    assert rotated["secret"] != hook["secret"]
    assert (await get_hook(service, hook))["former_secret_until"] == rotated["former_secret_until"]
    await send_test(service, hook)
    await advance(service, hours=23)
    await send_test(service, hook)
    await advance(service, hours=2)
    await send_test(service, hook)
    for got, secrets in zip(receiver.received_on(), (2, 2, 1), strict=True):
        both = [signature(rotated["secret"], got), signature(hook["secret"], got)]
        assert signatures(got) == both[:secrets]
    assert (await get_hook(service, hook))["former_secret_until"] is None
    kept = await service.resources.db.pool.fetchval("SELECT former_secret FROM hook_endpoints")
    assert kept is None, "and is erased"


async def test_a_slow_endpoint_delays_nobody_else(service: RunningService, receiver: Receiver) -> None:
    slow = await create_hook(service, receiver.url("/slow"))
    quick = await create_hook(service, receiver.url(name=OTHER))
    for _ in range(12):
        await send_test(service, slow, wait=False)
    async with asyncio.timeout(TIMEOUT):
        await receiver.slow_requested.wait()
        message_id = await send_test(service, quick, wait=False)
        while [got.id for got in receiver.received_on()] != [message_id]:  # noqa: ASYNC110 - the receiver notifies nobody
            await asyncio.sleep(0.02)
    assert len(receiver.received_on("/slow")) <= 4, "it takes no more than its share of the worker"
    receiver.slow_release.set()
    await service.wait_idle()
    assert len(receiver.received_on("/slow")) == 12


async def test_a_dead_endpoint_delays_nobody_else(service: RunningService, receiver: Receiver) -> None:
    dead, quick = await create_hook(service, receiver.url()), await create_hook(service, receiver.url(name=OTHER))
    receiver.resolver.addresses[NAME] = ["127.0.0.2"]
    for _ in range(12):
        await send_test(service, dead, wait=False)
    async with asyncio.timeout(TIMEOUT):
        message_id = await send_test(service, quick, wait=False)
        while [got.id for got in receiver.received_on()] != [message_id]:  # noqa: ASYNC110 - the receiver notifies nobody
            await asyncio.sleep(0.02)
    await service.wait_idle()
    messages = await list_messages(service, dead)
    assert [(message["state"], len(message["attempts"])) for message in messages] == [("waiting", 1)] * 12


async def test_a_deleted_hook_gets_nothing_that_was_still_to_be_sent(
    service: RunningService, receiver: Receiver
) -> None:
    hook = await create_hook(service, receiver.url())
    receiver.statuses["/hook"] = 503
    await send_test(service, hook)
    assert (await service.call("admin", "DELETE", f"{BASE}/{hook['id']}")).status_code == 204
    await advance(service, minutes=1)
    assert len(receiver.received_on()) == 1
    assert (await service.get("admin", f"{BASE}/{hook['id']}")).status_code == 404
    assert await service.resources.db.pool.fetchval("SELECT count(*) FROM outbox WHERE job = 'hooks.send'") == 0


async def test_what_is_pruned_or_deleted_leaves_nothing_to_be_revived(
    service: RunningService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_schedule, "RETRY_DELAYS", (timedelta(seconds=5),))
    hook, other = await create_hook(service, receiver.url()), await create_hook(service, receiver.url("/other"))
    await send_test(service, hook)
    receiver.statuses |= {"/hook": 500, "/other": 500}
    for each in (hook, other):
        await send_test(service, each)
    await advance(service, seconds=10)
    assert [message["state"] for message in await list_messages(service, hook)] == ["given_up", "delivered"]
    rows = "SELECT count(*) FROM outbox WHERE job = 'hooks.send'"
    assert await service.resources.db.pool.fetchval(rows) == 2
    assert (await service.call("admin", "DELETE", f"{BASE}/{other['id']}")).status_code == 204
    await service.wait_idle()
    assert await service.resources.db.pool.fetchval(rows) == 1
    await advance(service, days=31)
    assert await list_messages(service, hook) == []
    assert await service.resources.db.pool.fetchval(rows) == 0
    assert len(receiver.received) == 5


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("url", {"url": "http://receiver.example/"}),
        ("url", {"url": "https://receiver.example:8443/"}),
        ("url", {"url": "not an address"}),
        ("kinds", {"kinds": []}),
        ("kinds.0", {"kinds": ["hook.test"]}),
        ("kinds", {"kinds": ["event.live", "event.live"]}),
    ],
)
async def test_a_wrong_field_is_named(service: RunningService, field: str, changes: dict[str, Any]) -> None:
    body = {"url": "https://receiver.example/", "kinds": ["event.live"]} | changes
    answer = await service.post("admin", BASE, body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


async def test_messages_are_listed_in_pages(service: RunningService, receiver: Receiver) -> None:
    hook = await create_hook(service, receiver.url())
    sent = [await send_test(service, hook) for _ in range(5)]
    listed_ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await service.get("admin", f"{BASE}/{hook['id']}/attempts", params={"limit": "2"} | cursor)).json()
        listed_ids += [message["message_id"] for message in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert listed_ids == sent[::-1]


def test_every_kind_of_message_is_described() -> None:
    described = create_app(PLACEHOLDER_SETTINGS).openapi()["webhooks"]
    assert set(described) == {*get_args(Kind), TEST_KIND}
    for operation in (methods["post"] for methods in described.values()):
        names = [parameter["name"] for parameter in operation["parameters"]]
        assert names == ["webhook-id", "webhook-timestamp", "webhook-signature"]
        assert operation["requestBody"]["required"]


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    """Capture everything that is logged, from DEBUG on."""
    handlers, level, before = logging.root.handlers[:], logging.root.level, structlog.get_config()
    stream = io.BytesIO()
    logs.configure(stream, logging.DEBUG)
    yield stream
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.configure(**before)


async def test_a_secret_is_shown_once_and_neither_logged_nor_kept_in_clear(
    log: io.BytesIO, service: RunningService, receiver: Receiver
) -> None:
    hook = await create_hook(service, receiver.url("/hook?key=in-the-address"))
    rotated = (await service.post("admin", f"{BASE}/{hook['id']}/rotate")).json()
    receiver.statuses["/hook"] = 503
    await send_test(service, hook)
    answers = [
        await service.get("admin", BASE),
        await service.get("admin", f"{BASE}/{hook['id']}"),
        await service.patch("admin", f"{BASE}/{hook['id']}", {"kinds": ["event.live"]}),
        await service.get("admin", f"{BASE}/{hook['id']}/attempts"),
    ]
    assert all(answer.status_code == 200 for answer in answers)
    tables = ("hook_endpoints", "hook_messages", "hook_attempts", "outbox", "idempotency_keys")
    rows = [await service.resources.db.pool.fetch(f"SELECT t::text FROM {table} AS t") for table in tables]  # noqa: S608 - ours
    exposed = "".join([answer.text for answer in answers] + [row[0] for each in rows for row in each])
    logged = log.getvalue().decode()
    assert "hook created" in logged
    assert not re.search(r"whsec_[\w+/]", exposed + logged)
    for secret in (hook["secret"], rotated["secret"]):
        key = secret.removeprefix("whsec_")
        assert key not in exposed + logged
    for sign in (each for got in receiver.received for each in signatures(got)):
        assert sign.removeprefix("v1,") not in exposed + logged
    assert "in-the-address" not in logged


async def test_a_community_has_fifty_hooks_however_many_are_made_at_once(
    service: RunningService, receiver: Receiver
) -> None:
    body = {"url": receiver.url(), "kinds": ["event.live"]}
    answers = await asyncio.gather(*(service.post("admin", BASE, body) for _ in range(MAX_ENDPOINTS + 10)))
    assert sorted(answer.status_code for answer in answers) == [201] * MAX_ENDPOINTS + [409] * 10
    assert len((await service.get("admin", BASE)).json()["items"]) == MAX_ENDPOINTS


def advance_to_half_past(service: RunningService) -> None:
    """Advance to half past the hour, so that no hourly limit resets during the test."""
    service.clock.ahead += timedelta(minutes=(90 - service.clock.now().minute) % 60)


@pytest.mark.parametrize(("what", "most"), [("test", "MAX_TESTS_PER_HOUR"), ("redeliver", "MAX_REDELIVERIES_PER_HOUR")])
async def test_a_hook_is_not_sent_for_by_hand_without_end(
    service: RunningService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, what: str, most: str
) -> None:
    hook = await create_hook(service, receiver.url())
    advance_to_half_past(service)
    message_id = await send_test(service, hook)
    monkeypatch.setattr(hooks_service, most, 5)
    body = {"message_id": message_id} if what == "redeliver" else None
    path = f"{BASE}/{hook['id']}/{what}"
    answers = await asyncio.gather(*(service.post("admin", path, body) for _ in range(12)))
    left = 5 - (what == "test")
    assert sorted(answer.status_code for answer in answers) == [202] * left + [429] * (12 - left)
    assert {answer.json()["type"].rpartition("/")[2] for answer in answers if answer.status_code == 429} == {"too-many"}
    service.clock.ahead += timedelta(hours=1)
    assert (await service.post("admin", path, body)).status_code == 202


async def test_names_are_not_looked_up_for_a_community_without_end(
    service: RunningService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance_to_half_past(service)
    monkeypatch.setattr(hooks_service, "MAX_CHECKS_PER_HOUR", 3)
    receiver.resolver.addresses["inside.example"] = ["10.0.0.7"]
    hook = await create_hook(service, receiver.url())
    statuses = [
        (await service.post("admin", BASE, {"url": "https://inside.example/", "kinds": ["event.live"]})).status_code,
        (await service.patch("admin", f"{BASE}/{hook['id']}", {"url": receiver.url()})).status_code,
        (await service.patch("admin", f"{BASE}/{hook['id']}", {"url": receiver.url()})).status_code,
        # Fields that need no lookup can still be changed.
        (await service.patch("admin", f"{BASE}/{hook['id']}", {"kinds": ["event.live"]})).status_code,
    ]
    assert statuses == [422, 200, 429, 200]
