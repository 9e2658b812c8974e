"""The platform is told what happened: signed, sent again until it was heard, and nobody else waits for it."""

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

from app.cli.documents import ANY_SETTINGS
from app.core import logs
from app.hooks import schedule
from app.hooks import service as hooks_service
from app.hooks.kinds import TEST, Kind
from app.hooks.service import MOST_ENDPOINTS
from app.main import create_app
from tests.hooks.receiver import NAME, OTHER, PUBLIC, Receiver, signature, signatures
from tests.living import COMMUNITY, Living
from tests.meetings.house import change
from tests.patience import PATIENCE

BASE = f"/api/communities/{COMMUNITY['slug']}/hooks"
EVERYTHING = list(get_args(Kind))
ADA = "ada@riverside.example"


async def made(living: Living, url: str, *kinds: str) -> Any:
    """A new hook, with its secret."""
    answer = await living.post("admin", BASE, {"url": url, "kinds": list(kinds) or EVERYTHING})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def tried(living: Living, hook: Any, *, settled: bool = True) -> str:
    """Ask for a test message; its id."""
    answer = await living.post("admin", f"{BASE}/{hook['id']}/test")
    assert answer.status_code == 202, answer.text
    if settled:
        await living.quiet()
    return str(answer.json()["message_id"])


async def listed(living: Living, hook: Any) -> list[Any]:
    """The hook's messages, the newest first."""
    answer = await living.get("admin", f"{BASE}/{hook['id']}/attempts")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def shown(living: Living, hook: Any) -> Any:
    """The hook as admins see it now."""
    answer = await living.get("admin", f"{BASE}/{hook['id']}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def later(living: Living, **by: float) -> None:
    """Some time passes, and what was waiting for it is done."""
    await living.forward(timedelta(**by))
    await living.quiet()


def told(receiver: Receiver, path: str = "/hook") -> list[tuple[str, Any]]:
    """What was said on a path: type and data."""
    return [(got.said["type"], got.said["data"]) for got in receiver.of(path)]


async def rsvp(living: Living, event: Any, status: str, who: str = "member") -> None:
    """Somebody answers, and it settles."""
    answer = await living.call(who, "PUT", f"/api/events/{event['id']}/rsvp", json={"status": status})
    assert answer.status_code == 200, answer.text
    await living.quiet()


async def test_a_test_message_arrives_signed_and_is_listed(living: Living, receiver: Receiver) -> None:
    hook = await made(living, receiver.url())
    message_id = await tried(living, hook)
    (got,) = receiver.of()
    assert got.id == message_id
    assert signatures(got) == [signature(hook["secret"], got)]
    assert abs(int(got.headers["webhook-timestamp"]) - living.clock.now().timestamp()) < 60
    assert got.said["type"] == "hook.test"
    assert got.said["data"] == {"community_id": COMMUNITY["id"], "hook_id": hook["id"]}
    (message,) = await listed(living, hook)
    assert (message["message_id"], message["kind"], message["state"]) == (message_id, "hook.test", "delivered")
    assert [(each["status"], each["problem"]) for each in message["attempts"]] == [(204, None)]
    assert message["next_at"] is None


async def test_a_meeting_that_starts_and_ends_is_told_with_ids_and_states(living: Living, receiver: Receiver) -> None:
    await living.connect()
    await made(living, receiver.url(), "event.live", "event.ended")
    await made(living, receiver.url("/others"), "registration.changed")
    event = await living.event()
    meeting = f"/simulator/meetings/{event['zoom']['meeting_id']}"
    for rehearsal in ("start", "end"):
        (await living.zoom.post(f"{meeting}/{rehearsal}")).raise_for_status()
        await living.quiet()
    about = {"community_id": COMMUNITY["id"], "event_id": event["id"]}
    live, ended = ("event.live", about | {"status": "live"}), ("event.ended", about | {"status": "ended"})
    rehearsed = ("event.ended", about | {"status": "scheduled"})
    assert told(receiver) == [live, rehearsed], "after a rehearsal the event is still to come"
    await later(living, days=1, minutes=10)
    (await living.zoom.post(f"{meeting}/start")).raise_for_status()
    await living.quiet()
    (await living.zoom.post(f"{meeting}/end")).raise_for_status()
    await living.quiet()
    assert told(receiver) == [live, rehearsed, live, ended]
    assert told(receiver, "/others") == []


async def test_the_attendance_is_final_once_zoom_reported_or_cannot_say_any_more(
    living: Living, receiver: Receiver
) -> None:
    await living.connect()
    await made(living, receiver.url(), "attendance.final")
    event = await living.event()
    meeting = f"/simulator/meetings/{event['zoom']['meeting_id']}"
    await later(living, days=1, minutes=10)
    for what in ("start", "end"):
        (await living.zoom.post(f"{meeting}/{what}")).raise_for_status()
        await living.quiet()
    await later(living, minutes=85)
    assert told(receiver) == []
    await later(living, minutes=6)
    ((kind, data),) = told(receiver)
    assert (kind, data.keys()) == ("attendance.final", {"community_id", "event_id", "ended_at", "present", "attended"})
    assert data["event_id"] == event["id"]
    await later(living, hours=12)
    assert len(told(receiver)) == 1


async def test_recordings_can_be_asked_for_before_there_are_any(living: Living, receiver: Receiver) -> None:
    hook = await made(living, receiver.url(), "recording.ready", "recording.published")
    assert hook["kinds"] == ["recording.ready", "recording.published"]


async def test_answers_are_told_without_names_or_addresses_and_only_when_they_changed(
    living: Living, receiver: Receiver
) -> None:
    await living.connect()
    await made(living, receiver.url(), "registration.changed")
    event = await living.event(capacity=1)
    await rsvp(living, event, "going")
    await rsvp(living, event, "going")
    await rsvp(living, event, "going", "member2")
    await rsvp(living, event, "not_going")
    said = [(data["member_id"], data["rsvp"], data["waiting"]) for _, data in told(receiver)]
    assert said[:2] == [("m-member", "going", False), ("m-member2", "going", True)]
    assert sorted(said[2:]) == [("m-member", "not_going", False), ("m-member2", "going", False)]
    everything = b"".join(got.body for got in receiver.got).decode()
    for personal in ("@", "http", "Mia", "Max"):
        assert personal not in everything


async def test_a_guest_is_told_without_the_id_that_only_stands_for_one(living: Living, receiver: Receiver) -> None:
    await living.connect()
    await made(living, receiver.url(), "registration.changed")
    event = await living.event()
    guest = {"email": "gus@guests.example", "name": "Gus Guest"}
    assert (await living.post("admin", f"/api/events/{event['id']}/guests", guest)).status_code == 201
    await living.quiet()
    assert [data["member_id"] for _, data in told(receiver)] == [None]


async def test_a_host_who_has_not_come_five_minutes_after_the_start_is_told_once(
    living: Living, receiver: Receiver
) -> None:
    await living.connect()
    await made(living, receiver.url(), "event.host_missing")
    event = await living.event()
    await later(living, days=1, minutes=6)
    await change(living, event, title="Another evening")
    data = {"community_id": COMMUNITY["id"], "event_id": event["id"], "status": "scheduled"}
    assert told(receiver) == [("event.host_missing", data)]


async def test_a_dead_connection_is_told_once(living: Living, receiver: Receiver) -> None:
    account = await living.connect()
    await made(living, receiver.url(), "account.needs_reauth")
    event = await living.event()
    (await living.zoom.post("/simulator/deauthorize", json={"user": ADA, "notify": False})).raise_for_status()
    await change(living, event, title="Another evening")
    await change(living, event, title="Yet another evening")
    data = {"community_id": COMMUNITY["id"], "account_id": account["id"], "status": "needs_reauth"}
    assert told(receiver) == [("account.needs_reauth", data)]


async def test_what_did_not_arrive_is_sent_again_with_the_same_id_and_body(living: Living, receiver: Receiver) -> None:
    hook = await made(living, receiver.url())
    receiver.answers["/hook"] = 503
    await tried(living, hook)
    (message,) = await listed(living, hook)
    assert (message["state"], [each["status"] for each in message["attempts"]]) == ("waiting", [503])
    assert "sesame" not in str(message), "what an endpoint says beside its status is shown to nobody"
    await later(living, seconds=7)
    assert len(receiver.of()) == 2
    receiver.answers["/hook"] = 204
    await later(living, minutes=1)
    assert len(receiver.of()) == 2, "the second pause is 5 minutes"
    await later(living, minutes=7)
    assert len({(got.id, got.body) for got in receiver.of()}) == 1
    assert len({got.headers["webhook-timestamp"] for got in receiver.of()}) == 3
    assert all(signatures(got) == [signature(hook["secret"], got)] for got in receiver.of())
    (message,) = await listed(living, hook)
    assert (message["state"], [each["status"] for each in message["attempts"]]) == ("delivered", [503, 503, 204])


async def test_what_never_arrives_is_given_up_visibly_and_can_be_sent_by_hand(
    living: Living, receiver: Receiver
) -> None:
    hook = await made(living, receiver.url())
    receiver.answers["/hook"] = 500
    message_id = await tried(living, hook)
    for hours in (1, 1, 1, 3, 6, 12, 16, 23, 27):
        await later(living, hours=hours)
    (message,) = await listed(living, hook)
    assert (message["state"], message["next_at"], len(message["attempts"])) == ("given_up", None, 10)
    dead = await living.held.db.hot.fetch("SELECT key, reason FROM outbox WHERE dead_at IS NOT NULL")
    assert [(row["key"], row["reason"]) for row in dead] == [
        (message_id, "NotNow: given up: the endpoint answered 500")
    ]
    receiver.answers["/hook"] = 204
    again = await living.post("admin", f"{BASE}/{hook['id']}/redeliver", {"message_id": message_id})
    assert (again.status_code, again.json()) == (202, {"message_id": message_id})
    await living.quiet()
    assert {got.id for got in receiver.of()} == {message_id}
    (message,) = await listed(living, hook)
    assert (message["state"], len(message["attempts"])) == ("delivered", 11)
    assert await living.held.db.hot.fetchval("SELECT count(*) FROM outbox WHERE reaction = 'hooks.send'") == 0


async def test_what_waits_or_arrived_is_sent_again_at_once_when_asked(living: Living, receiver: Receiver) -> None:
    hook = await made(living, receiver.url())
    receiver.answers["/hook"] = 503
    message_id = await tried(living, hook)
    await later(living, seconds=7)
    receiver.answers["/hook"] = 204
    for sendings in (3, 4):
        answer = await living.post("admin", f"{BASE}/{hook['id']}/redeliver", {"message_id": message_id})
        assert answer.status_code == 202
        await living.quiet()
        assert [got.id for got in receiver.of()] == [message_id] * sendings
        assert (await listed(living, hook))[0]["state"] == "delivered"


async def test_what_is_asked_for_while_a_sending_fails_does_not_wait_for_the_next(
    living: Living, receiver: Receiver
) -> None:
    hook = await made(living, receiver.url("/slow"))
    receiver.answers["/slow"] = 504
    message_id = await tried(living, hook, settled=False)
    await receiver.slow_came.wait()
    answer = await living.post("admin", f"{BASE}/{hook['id']}/redeliver", {"message_id": message_id})
    assert answer.status_code == 202
    receiver.released.set()
    await living.quiet()
    assert [got.id for got in receiver.of("/slow")] == [message_id] * 2
    await later(living, minutes=4)
    assert len(receiver.of("/slow")) == 2, "nobody asked again, so the pause counts"


async def test_only_the_hooks_own_messages_are_sent_again(living: Living, receiver: Receiver) -> None:
    hook, other = await made(living, receiver.url()), await made(living, receiver.url("/other"))
    foreign = await tried(living, other)
    for message_id in (foreign, str(uuid4())):
        answer = await living.post("admin", f"{BASE}/{hook['id']}/redeliver", {"message_id": message_id})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "message_id"
    assert receiver.of() == []


async def test_a_redirect_is_a_failure_and_not_followed(living: Living, receiver: Receiver) -> None:
    hook = await made(living, receiver.url("/redirect"))
    await tried(living, hook)
    (message,) = await listed(living, hook)
    assert (message["state"], message["attempts"][0]["status"]) == ("waiting", 302)
    assert [got.path for got in receiver.got] == ["/redirect"]


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.8", "169.254.169.254", "::1", "fd00::8", "::ffff:10.0.0.8"])
async def test_an_address_that_is_private_is_refused_when_a_hook_is_made_or_changed(
    living: Living, receiver: Receiver, address: str
) -> None:
    receiver.directory.addresses["inside.example"] = [address]
    hook = await made(living, receiver.url())
    literal = f"https://[{address}]/" if ":" in address else f"https://{address}/"
    receiver.directory.addresses[address] = [address]
    for url in ("https://inside.example/", literal):
        said = {"url": url, "kinds": ["event.live"]}
        for answer in (
            await living.post("admin", BASE, said),
            await living.patch("admin", f"{BASE}/{hook['id']}", {"url": url}),
        ):
            assert answer.status_code == 422, answer.text
            assert answer.json()["errors"][0]["field"] == "url"
    assert (await shown(living, hook))["url"] == receiver.url()


async def test_a_name_that_leads_inside_later_is_refused_when_a_message_is_sent(
    living: Living, receiver: Receiver
) -> None:
    """DNS rebinding: what was checked when the hook was made says nothing about now."""
    receiver.directory.addresses["rebinding.example"] = [PUBLIC]
    hook = await made(living, "https://rebinding.example/hook")
    receiver.directory.addresses["rebinding.example"] = ["127.0.0.1"]
    await tried(living, hook)
    (message,) = await listed(living, hook)
    assert message["state"] == "waiting"
    assert [(each["status"], each["problem"]) for each in message["attempts"]] == [
        (None, "its host name leads to no server on the public internet")
    ]


async def test_an_endpoint_that_is_gone_is_switched_off_until_an_admin_says_otherwise(
    living: Living, receiver: Receiver
) -> None:
    hook = await made(living, receiver.url())
    receiver.answers["/hook"] = 503
    waiting = await tried(living, hook)
    receiver.answers["/hook"] = 410
    await tried(living, hook)
    now = await shown(living, hook)
    assert (now["enabled"], "410" in now["disabled_reason"]) == (False, True)
    await later(living, minutes=1)
    assert len(receiver.of()) == 2, "what waited for it is not sent any more"
    assert {message["state"] for message in await listed(living, hook)} == {"given_up"}
    for path, body in (("test", None), ("redeliver", {"message_id": waiting})):
        refused = await living.post("admin", f"{BASE}/{hook['id']}/{path}", body)
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "hook-disabled")
    await living.connect()
    await rsvp(living, await living.event(), "going")
    assert len(receiver.of()) == 2, "nothing is told to it"
    receiver.answers["/hook"] = 204
    on = await living.patch("admin", f"{BASE}/{hook['id']}", {"enabled": True})
    assert (on.json()["enabled"], on.json()["disabled_reason"]) == (True, None)
    await tried(living, hook)
    assert len(receiver.of()) == 3


async def test_after_a_rotation_both_secrets_sign_for_a_day_and_then_the_new_one_alone(
    living: Living, receiver: Receiver
) -> None:
    hook = await made(living, receiver.url())
    rotated = (await living.post("admin", f"{BASE}/{hook['id']}/rotate")).json()
    assert rotated["secret"] != hook["secret"]
    assert (await shown(living, hook))["former_secret_until"] == rotated["former_secret_until"]
    await tried(living, hook)
    await later(living, hours=23)
    await tried(living, hook)
    await later(living, hours=2)
    await tried(living, hook)
    for got, secrets in zip(receiver.of(), (2, 2, 1), strict=True):
        both = [signature(rotated["secret"], got), signature(hook["secret"], got)]
        assert signatures(got) == both[:secrets]
    assert (await shown(living, hook))["former_secret_until"] is None
    kept = await living.held.db.hot.fetchval("SELECT former_secret FROM hook_endpoints")
    assert kept is None, "and is erased"


async def test_a_slow_endpoint_delays_nobody_else(living: Living, receiver: Receiver) -> None:
    slow, quick = await made(living, receiver.url("/slow")), await made(living, receiver.url(name=OTHER))
    for _ in range(12):
        await tried(living, slow, settled=False)
    async with asyncio.timeout(PATIENCE):
        await receiver.slow_came.wait()
        message_id = await tried(living, quick, settled=False)
        while [got.id for got in receiver.of()] != [message_id]:  # noqa: ASYNC110 - the receiver rings nobody
            await asyncio.sleep(0.02)
    assert len(receiver.of("/slow")) <= 4, "it takes no more than its share of the worker"
    receiver.released.set()
    await living.quiet()
    assert len(receiver.of("/slow")) == 12


async def test_a_dead_endpoint_delays_nobody_else(living: Living, receiver: Receiver) -> None:
    dead, quick = await made(living, receiver.url()), await made(living, receiver.url(name=OTHER))
    receiver.directory.addresses[NAME] = ["127.0.0.2"]
    for _ in range(12):
        await tried(living, dead, settled=False)
    async with asyncio.timeout(PATIENCE):
        message_id = await tried(living, quick, settled=False)
        while [got.id for got in receiver.of()] != [message_id]:  # noqa: ASYNC110 - the receiver rings nobody
            await asyncio.sleep(0.02)
    await living.quiet()
    messages = await listed(living, dead)
    assert [(message["state"], len(message["attempts"])) for message in messages] == [("waiting", 1)] * 12


async def test_a_deleted_hook_gets_nothing_that_was_still_to_be_sent(living: Living, receiver: Receiver) -> None:
    hook = await made(living, receiver.url())
    receiver.answers["/hook"] = 503
    await tried(living, hook)
    assert (await living.call("admin", "DELETE", f"{BASE}/{hook['id']}")).status_code == 204
    await later(living, minutes=1)
    assert len(receiver.of()) == 1
    assert (await living.get("admin", f"{BASE}/{hook['id']}")).status_code == 404
    assert await living.held.db.hot.fetchval("SELECT count(*) FROM outbox WHERE reaction = 'hooks.send'") == 0


async def test_what_is_pruned_or_deleted_leaves_nothing_to_be_revived(
    living: Living, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "PAUSES", (timedelta(seconds=5),))
    hook, other = await made(living, receiver.url()), await made(living, receiver.url("/other"))
    await tried(living, hook)
    receiver.answers |= {"/hook": 500, "/other": 500}
    for each in (hook, other):
        await tried(living, each)
    await later(living, seconds=10)
    assert [message["state"] for message in await listed(living, hook)] == ["given_up", "delivered"]
    rows = "SELECT count(*) FROM outbox WHERE reaction = 'hooks.send'"
    assert await living.held.db.hot.fetchval(rows) == 2
    assert (await living.call("admin", "DELETE", f"{BASE}/{other['id']}")).status_code == 204
    await living.quiet()
    assert await living.held.db.hot.fetchval(rows) == 1
    await later(living, days=31)
    assert await listed(living, hook) == []
    assert await living.held.db.hot.fetchval(rows) == 0
    assert len(receiver.got) == 5


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("url", {"url": "http://receiver.example/"}),
        ("url", {"url": "https://receiver.example:8443/"}),
        ("url", {"url": "not an address"}),
        ("kinds", {"kinds": []}),
        ("kinds.0", {"kinds": ["hook.test"]}),
        ("kinds", {"kinds": ["event.live", "event.live"]}),
    ],
)
async def test_a_wrong_wish_is_named(living: Living, field: str, said: dict[str, Any]) -> None:
    body = {"url": "https://receiver.example/", "kinds": ["event.live"]} | said
    answer = await living.post("admin", BASE, body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


async def test_messages_are_listed_in_pages(living: Living, receiver: Receiver) -> None:
    hook = await made(living, receiver.url())
    sent = [await tried(living, hook) for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await living.get("admin", f"{BASE}/{hook['id']}/attempts", params={"limit": "2"} | cursor)).json()
        seen += [message["message_id"] for message in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == sent[::-1]


def test_every_kind_of_message_is_described() -> None:
    described = create_app(ANY_SETTINGS).openapi()["webhooks"]
    assert set(described) == {*get_args(Kind), TEST}
    for operation in (methods["post"] for methods in described.values()):
        names = [parameter["name"] for parameter in operation["parameters"]]
        assert names == ["webhook-id", "webhook-timestamp", "webhook-signature"]
        assert operation["requestBody"]["required"]


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    """Everything logged, from DEBUG on."""
    handlers, level, before = logging.root.handlers[:], logging.root.level, structlog.get_config()
    stream = io.BytesIO()
    logs.configure(stream, logging.DEBUG)
    yield stream
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.configure(**before)


async def test_a_secret_is_shown_once_and_neither_logged_nor_kept_in_clear(
    log: io.BytesIO, living: Living, receiver: Receiver
) -> None:
    hook = await made(living, receiver.url("/hook?key=in-the-address"))
    rotated = (await living.post("admin", f"{BASE}/{hook['id']}/rotate")).json()
    receiver.answers["/hook"] = 503
    await tried(living, hook)
    answers = [
        await living.get("admin", BASE),
        await living.get("admin", f"{BASE}/{hook['id']}"),
        await living.patch("admin", f"{BASE}/{hook['id']}", {"kinds": ["event.live"]}),
        await living.get("admin", f"{BASE}/{hook['id']}/attempts"),
    ]
    assert all(answer.status_code == 200 for answer in answers)
    tables = ("hook_endpoints", "hook_messages", "hook_attempts", "outbox", "idempotency_keys")
    rows = [await living.held.db.hot.fetch(f"SELECT t::text FROM {table} AS t") for table in tables]  # noqa: S608 - ours
    said = "".join([answer.text for answer in answers] + [row[0] for each in rows for row in each])
    logged = log.getvalue().decode()
    assert "hook made" in logged
    assert not re.search(r"whsec_[\w+/]", said + logged)
    for secret in (hook["secret"], rotated["secret"]):
        key = secret.removeprefix("whsec_")
        assert key not in said + logged
    for sign in (each for got in receiver.got for each in signatures(got)):
        assert sign.removeprefix("v1,") not in said + logged
    assert "in-the-address" not in logged


async def test_a_community_has_fifty_hooks_however_many_are_made_at_once(living: Living, receiver: Receiver) -> None:
    said = {"url": receiver.url(), "kinds": ["event.live"]}
    answers = await asyncio.gather(*(living.post("admin", BASE, said) for _ in range(MOST_ENDPOINTS + 10)))
    assert sorted(answer.status_code for answer in answers) == [201] * MOST_ENDPOINTS + [409] * 10
    assert len((await living.get("admin", BASE)).json()["items"]) == MOST_ENDPOINTS


def half_past(living: Living) -> None:
    """Go on to half past the hour: what is counted for an hour ends at no moment of the test."""
    living.clock.ahead += timedelta(minutes=(90 - living.clock.now().minute) % 60)


@pytest.mark.parametrize(("what", "most"), [("test", "TESTS_AN_HOUR"), ("redeliver", "AGAIN_AN_HOUR")])
async def test_a_hook_is_not_sent_for_by_hand_without_end(
    living: Living, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, what: str, most: str
) -> None:
    hook = await made(living, receiver.url())
    half_past(living)
    message_id = await tried(living, hook)
    monkeypatch.setattr(hooks_service, most, 5)
    body = {"message_id": message_id} if what == "redeliver" else None
    path = f"{BASE}/{hook['id']}/{what}"
    answers = await asyncio.gather(*(living.post("admin", path, body) for _ in range(12)))
    left = 5 - (what == "test")
    assert sorted(answer.status_code for answer in answers) == [202] * left + [429] * (12 - left)
    assert {answer.json()["type"].rpartition("/")[2] for answer in answers if answer.status_code == 429} == {"too-many"}
    living.clock.ahead += timedelta(hours=1)
    assert (await living.post("admin", path, body)).status_code == 202


async def test_names_are_not_looked_up_for_a_community_without_end(
    living: Living, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_past(living)
    monkeypatch.setattr(hooks_service, "CHECKS_AN_HOUR", 3)
    receiver.directory.addresses["inside.example"] = ["10.0.0.7"]
    hook = await made(living, receiver.url())
    statuses = [
        (await living.post("admin", BASE, {"url": "https://inside.example/", "kinds": ["event.live"]})).status_code,
        (await living.patch("admin", f"{BASE}/{hook['id']}", {"url": receiver.url()})).status_code,
        (await living.patch("admin", f"{BASE}/{hook['id']}", {"url": receiver.url()})).status_code,
        # What asks for no look-up still can be changed.
        (await living.patch("admin", f"{BASE}/{hook['id']}", {"kinds": ["event.live"]})).status_code,
    ]
    assert statuses == [422, 200, 429, 200]
