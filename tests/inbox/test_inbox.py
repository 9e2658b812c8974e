"""The ear: nothing forged is believed, nothing authentic is lost, nothing counts twice."""

import asyncio
import dataclasses
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app import facts
from app.accounts import webhook_secrets
from app.accounts.models import Account
from app.core.work import Reactions, Runner
from app.inbox import api, service, tasks, tempo
from app.inbox.api import LARGEST_BODY, router
from tests.inbox.house import APP_SECRET, FORMER_SECRET, NOW, House, Noted, bound, open_house
from tests.patience import PATIENCE

KEPT = timedelta(days=30)
HOOKS = "/api/integrations/zoom/webhooks"
STARTED = {
    "event": "meeting.started",
    "event_ts": 1799582400000,
    "payload": {"account_id": "riverside", "object": {"id": "81234567890", "uuid": "u==", "host_id": "host-1"}},
}


@pytest.fixture
def started() -> Noted:
    """Who hears that a meeting started."""
    return Noted()


@pytest.fixture
async def house(database_url: str, started: Noted) -> AsyncIterator[House]:
    """The ear, and the reactions of the inbox."""
    table = {
        **bound(facts.DeliveryStored, tasks.interpret_delivery, "delivery_id"),
        **bound(facts.MeetingStarted, started, "delivery_id"),
        **bound(facts.AppDeauthorized, tasks.deauthorize, "delivery_id"),
        **bound(facts.AccountDisconnected, Noted(), "account_id"),
    }
    async with open_house(database_url, [router], table) as house:
        yield house


def signed(
    body: bytes,
    secret: str = APP_SECRET,
    at: datetime = NOW,
    *,
    milliseconds: bool = False,
    kind: str = "application/json",
) -> dict[str, str]:
    """Headers as Zoom sends them."""
    stamp = str(int(at.timestamp() * (1000 if milliseconds else 1)))
    mark = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"x-zm-request-timestamp": stamp, "x-zm-signature": f"v0={mark}", "content-type": kind}


async def deliver(house: House, said: dict[str, Any], path: str = HOOKS, **how: Any) -> httpx.Response:
    body = json.dumps(said).encode()
    return await house.http.post(path, content=body, headers=signed(body, **how))


async def stored(house: House) -> int:
    rows = await house.rows("SELECT count(*) AS stored FROM deliveries")
    return int(rows[0]["stored"])


async def connect(house: House, account_id: UUID | None = None, **columns: object) -> UUID:
    """A connected account of the Zoom account `riverside`."""
    account_id = account_id or uuid4()
    values = {
        "id": account_id,
        "community_id": "c1",
        "zoom_account_id": "riverside",
        "zoom_user_id": "owner",
        "own_user_only": "",
        "status": "connected",
        "connected_by": "ann",
        "connected_at": NOW - timedelta(days=1),
    } | columns
    community = values["community_id"]
    await house.rows("INSERT INTO communities (id, slug) VALUES ($1, $1) ON CONFLICT DO NOTHING", community)
    names, places = ", ".join(values), ", ".join(f"${i}" for i in range(1, len(values) + 1))
    await house.rows(f"INSERT INTO accounts ({names}) VALUES ({places})", *values.values())  # noqa: S608 - names of this file
    return account_id


async def with_own_secret(house: House, secret: str, **columns: object) -> UUID:
    account_id = uuid4()
    sealed = house.held.seal.seal(secret, f"accounts.webhook_secret:{account_id}")
    return await connect(house, account_id, **{"webhook_secret": sealed} | columns)


@pytest.mark.parametrize("how", [{}, {"milliseconds": True}, {"secret": FORMER_SECRET}])
async def test_what_zoom_signed_is_stored_sealed_and_asked_for_at_once(house: House, how: dict[str, Any]) -> None:
    answer = await deliver(house, STARTED, **how)
    assert (answer.status_code, answer.content) == (204, b"")
    [row] = await house.rows("SELECT id, kind, zoom_account_id, signed_by, body FROM deliveries")
    assert (row["kind"], row["zoom_account_id"], row["signed_by"]) == ("meeting.started", "riverside", None)
    assert b"81234567890" not in row["body"]
    assert json.loads(house.held.seal.open(row["body"], f"deliveries.body:{row['id']}")) == STARTED
    assert [work["key"] for work in await house.rows("SELECT key FROM outbox")] == [str(row["id"])]


async def test_a_delivery_repeated_at_once_and_signed_anew_counts_once(house: House) -> None:
    answers = await asyncio.gather(*(deliver(house, STARTED) for _ in range(20)))
    later = await deliver(house, STARTED, at=NOW + timedelta(minutes=5) - timedelta(seconds=1))
    assert {answer.status_code for answer in (*answers, later)} == {204}
    assert await stored(house) == 1
    [row] = await house.rows("SELECT generation FROM outbox")
    assert row["generation"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"x-zm-signature": "v0=" + "0" * 64},
        {"x-zm-signature": ""},
        {"x-zm-request-timestamp": ""},
        {"x-zm-request-timestamp": "now"},
        {"x-zm-signature": "v0=\u00e9"},
    ],
)
async def test_what_zoom_did_not_sign_leaves_nothing(house: House, changes: dict[str, str]) -> None:
    body = json.dumps(STARTED).encode()
    headers = [(name.encode(), value.encode("latin-1")) for name, value in (signed(body) | changes).items() if value]
    answer = await house.http.post(HOOKS, content=body, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["type"].endswith("/unauthentic")
    assert await stored(house) == 0


async def test_a_secret_that_is_nobodys_signs_nothing(house: House) -> None:
    assert (await deliver(house, STARTED, secret="guessed")).status_code == 401
    assert await stored(house) == 0


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (timedelta(minutes=85), 204),
        (timedelta(hours=2), 204),
        (timedelta(hours=2, seconds=1), 401),
        (timedelta(minutes=-5), 204),
        (timedelta(minutes=-5, seconds=-1), 401),
    ],
)
async def test_the_window_outlives_zooms_retries_and_ends(house: House, age: timedelta, status: int) -> None:
    assert (await deliver(house, STARTED, at=NOW - age)).status_code == status
    assert await stored(house) == (status == 204)


async def test_the_raw_bytes_count_and_nothing_said_the_same_way(house: House) -> None:
    odd = (
        '{"event" : "meeting.started", "payload":{"topic":"Caf\\u00e9 \\/ Zürich", "account_id":"riverside"}}'.encode()
    )
    rewritten = json.dumps(json.loads(odd)).encode()
    assert (await house.http.post(HOOKS, content=rewritten, headers=signed(odd))).status_code == 401
    assert (await house.http.post(HOOKS, content=odd, headers=signed(odd))).status_code == 204


async def test_a_delivery_that_is_too_large_is_not_read_to_its_end(house: House) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 65536

    body = b" " * (LARGEST_BODY + 1)
    assert (await house.http.post(HOOKS, content=body, headers=signed(body))).status_code == 413
    assert (await house.http.post(HOOKS, content=endless(), headers=signed(b""))).status_code == 413
    assert await stored(house) == 0


async def test_the_largest_delivery_is_stored(house: House) -> None:
    body = json.dumps(STARTED).encode().ljust(LARGEST_BODY)
    assert (await house.http.post(HOOKS, content=body, headers=signed(body))).status_code == 204


async def test_a_delivery_cut_short_leaves_nothing(house: House) -> None:
    body = json.dumps(STARTED).encode()
    cut = await house.http.post(HOOKS, content=body[:-1], headers=signed(body))
    assert cut.status_code == 401
    reader, writer = await asyncio.open_connection(*house.url.removeprefix("http://").split(":"))
    head = f"POST {HOOKS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    fields = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
    writer.write(f"{head}{fields}\r\n".encode() + body[:-10])
    writer.write_eof()
    await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    await writer.wait_closed()
    assert await stored(house) == 0


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"payload":{}}', b'{"event":"x","payload":[1]}', b"\xff"])
async def test_what_is_signed_but_no_notification_is_refused(house: House, body: bytes) -> None:
    answer = await house.http.post(HOOKS, content=body, headers=signed(body))
    assert answer.status_code == 400
    assert await stored(house) == 0


async def test_another_kind_of_content_is_refused_and_zooms_own_spelling_is_not(house: House) -> None:
    body = json.dumps(STARTED).encode()
    form = signed(body, kind="application/x-www-form-urlencoded")
    assert (await house.http.post(HOOKS, content=body, headers=form)).status_code == 400
    spelled = signed(body, kind="Application/JSON; charset=utf-8")
    assert (await house.http.post(HOOKS, content=body, headers=spelled)).status_code == 204


async def test_text_no_database_can_hold_is_stored_all_the_same(house: House) -> None:
    body = b'{"event":"odd\\u0000\\ud800' + b"x" * 1000 + b'","payload":{"account_id":"a\\u0000"}}'
    assert (await house.http.post(HOOKS, content=body, headers=signed(body))).status_code == 204
    [row] = await house.rows("SELECT kind, zoom_account_id FROM deliveries")
    assert row["kind"].startswith("odd")
    assert row["zoom_account_id"] == "a"


async def test_a_signed_challenge_is_answered_with_the_secret_that_signed_it(house: House) -> None:
    asked = {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
    for secret in (APP_SECRET, FORMER_SECRET):
        answer = await deliver(house, asked, secret=secret)
        expected = hmac.new(secret.encode(), b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
        assert answer.status_code == 200
        assert answer.json() == {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": expected}
    assert await stored(house) == 0


@pytest.mark.parametrize("token", ["v0:1799582400:{}", "x" * 65, "", None, 7])
async def test_nothing_that_could_be_a_message_is_signed_as_a_challenge(house: House, token: object) -> None:
    answer = await deliver(house, {"event": "endpoint.url_validation", "payload": {"plainToken": token}})
    assert answer.status_code == 400
    assert "encryptedToken" not in answer.text


async def test_an_unsigned_challenge_learns_nothing(house: House) -> None:
    body = b'{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}'
    answer = await house.http.post(HOOKS, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 401
    assert "encryptedToken" not in answer.text


async def test_an_accounts_own_secret_speaks_for_that_account_alone(house: House) -> None:
    own = await with_own_secret(house, "own-secret")
    elsewhere = STARTED | {"payload": {"account_id": "willow", "object": {"id": "1"}}}
    assert (await deliver(house, STARTED, f"{HOOKS}/{own}", secret="own-secret")).status_code == 204
    assert (await deliver(house, elsewhere, f"{HOOKS}/{own}", secret="own-secret")).status_code == 401
    assert (await deliver(house, STARTED, secret="own-secret")).status_code == 401
    assert (await deliver(house, STARTED | {"event_ts": 1}, f"{HOOKS}/{own}")).status_code == 401
    [row] = await house.rows("SELECT signed_by FROM deliveries")
    assert row["signed_by"] == own


async def test_what_an_account_says_beyond_its_tempo_is_not_stored_and_zoom_sends_it_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of one account's own secret ends before it fills the database; the app's secret is not limited."""
    monkeypatch.setattr(tempo, "AT_ONCE", 3)
    monkeypatch.setattr(tempo, "PER_SECOND", 0.001)
    monkeypatch.setattr(api, "_TEMPO", tempo.Tempo())
    own = await with_own_secret(house, "own-secret")
    answers = [
        await deliver(house, STARTED | {"event_ts": number}, f"{HOOKS}/{own}", secret="own-secret")
        for number in range(5)
    ]
    assert [answer.status_code for answer in answers] == [204, 204, 204, 503, 503]
    assert answers[-1].headers["Retry-After"] == "60"
    assert await stored(house) == 3
    assert (await deliver(house, STARTED | {"event_ts": 9})).status_code == 204


async def renew(house: House, account_id: UUID, secret: str) -> None:
    """An admin says a new secret of the account's own."""
    async with house.held.db.transaction() as tx:
        account = await tx.session.get_one(Account, account_id)
        webhook_secrets.change(account, house.held.seal, secret, tx.now)


async def test_while_an_own_secret_is_replaced_nothing_signed_with_either_is_lost_or_counts_twice(house: House) -> None:
    own = await with_own_secret(house, "own-secret-1")
    await renew(house, own, "own-secret-2")
    for number in range(10):
        secret = f"own-secret-{number % 2 + 1}"
        answer = await deliver(house, STARTED | {"event_ts": number}, f"{HOOKS}/{own}", secret=secret)
        assert answer.status_code == 204
    for number in range(10):
        again = await deliver(house, STARTED | {"event_ts": number}, f"{HOOKS}/{own}", secret="own-secret-2")
        assert again.status_code == 204
    assert await stored(house) == 10


async def test_a_day_later_a_replaced_secret_speaks_for_nobody(house: House) -> None:
    own = await with_own_secret(house, "own-secret-1")
    await renew(house, own, "own-secret-2")
    house.clock.time = later = NOW + webhook_secrets.OVERLAP
    for secret, status in (("own-secret-1", 401), ("own-secret-2", 204)):
        answer = await deliver(house, STARTED, f"{HOOKS}/{own}", secret=secret, at=later)
        assert answer.status_code == status
    assert await stored(house) == 1


async def test_a_slip_put_right_loses_nothing_that_was_signed_with_the_secret_before_it(house: House) -> None:
    own = await with_own_secret(house, "own-secret-1")
    await renew(house, own, "own-secert-2")
    await renew(house, own, "own-secret-2")
    for number, secret in enumerate(("own-secret-1", "own-secert-2", "own-secret-2")):
        answer = await deliver(house, STARTED | {"event_ts": number}, f"{HOOKS}/{own}", secret=secret)
        assert answer.status_code == 204


async def test_of_five_secrets_the_first_counts_no_longer_and_said_again_none_lives_on(house: House) -> None:
    own = await with_own_secret(house, "own-secret-1")
    for number in range(2, 6):
        await renew(house, own, f"own-secret-{number}")
    for number, status in ((1, 401), (2, 204), (4, 204), (5, 204)):
        said = STARTED | {"event_ts": number}
        answer = await deliver(house, said, f"{HOOKS}/{own}", secret=f"own-secret-{number}")
        assert answer.status_code == status
    house.clock.time = NOW + webhook_secrets.OVERLAP - timedelta(minutes=1)
    await renew(house, own, "own-secret-5")
    house.clock.time = later = NOW + webhook_secrets.OVERLAP
    assert (await deliver(house, STARTED, f"{HOOKS}/{own}", secret="own-secret-4", at=later)).status_code == 401


async def test_while_an_own_secret_is_replaced_a_challenge_is_answered_with_the_one_that_signed_it(
    house: House,
) -> None:
    own = await with_own_secret(house, "own-secret-1")
    await renew(house, own, "own-secret-2")
    asked = {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
    for secret in ("own-secret-1", "own-secret-2"):
        answer = await deliver(house, asked, f"{HOOKS}/{own}", secret=secret)
        assert (
            answer.json()["encryptedToken"]
            == hmac.new(secret.encode(), b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
        )
    unsigned = await house.http.post(f"{HOOKS}/{own}", content=json.dumps(asked).encode())
    assert (unsigned.status_code, "encryptedToken" in unsigned.text) == (401, False)


async def test_an_unknown_account_answers_like_a_wrong_signature(house: House) -> None:
    own = await with_own_secret(house, "own-secret")
    gone = await with_own_secret(house, "own-secret", status="disconnected", own_user_only="u9")
    wrong = await deliver(house, STARTED, f"{HOOKS}/{own}", secret="guessed")
    for unknown in (uuid4(), gone, "nonsense"):
        answer = await deliver(house, STARTED, f"{HOOKS}/{unknown}", secret="own-secret")
        assert (answer.status_code, answer.json() | {"instance": ""}) == (401, wrong.json() | {"instance": ""})


async def test_nobody_can_say_first_what_zoom_is_about_to_tell_another_account(house: House) -> None:
    own = await with_own_secret(house, "own-secret", community_id="c2", own_user_only="u2")
    account_id = await connect(house)
    await deliver(house, STARTED, f"{HOOKS}/{own}", secret="own-secret")
    await deliver(house, STARTED)
    assert await stored(house) == 2
    await house.work()
    [row] = await house.rows("SELECT id FROM accounts WHERE notified_at IS NOT NULL")
    assert row["id"] == account_id


async def test_a_delivery_becomes_facts_for_its_account(house: House, started: Noted) -> None:
    account_id = await connect(house)
    await deliver(house, STARTED)
    await house.work()
    [row] = await house.rows("SELECT id, outcome, interpreted_at FROM deliveries")
    assert (row["outcome"], row["interpreted_at"]) == ("understood", NOW)
    assert started.keys == [str(row["id"])]
    [seen] = await house.rows("SELECT notified_at FROM accounts WHERE id = $1", account_id)
    assert seen["notified_at"] == NOW
    async with house.held.db.transaction() as tx:
        notification = await service.notification(tx, house.held.seal, row["id"])
        assert notification.object_id == "81234567890"
        assert await service.account_ids(tx, row["id"], notification) == [account_id]


@pytest.mark.parametrize("columns", [{"zoom_account_id": "willow"}, {"status": "disconnected"}])
async def test_a_delivery_for_nobody_here_is_kept_and_has_no_effect(
    house: House, started: Noted, columns: dict[str, Any]
) -> None:
    await connect(house, **columns)
    await deliver(house, STARTED)
    await house.work()
    [row] = await house.rows("SELECT outcome, body FROM deliveries")
    assert row["outcome"] == "foreign"
    assert row["body"] is not None
    assert started.keys == []


async def test_a_connection_of_one_user_hears_of_that_user_only(house: House, started: Noted) -> None:
    await connect(house, own_user_only="host-2")
    await deliver(house, STARTED)
    await house.work()
    assert started.keys == []
    await connect(house, own_user_only="host-1", community_id="c2")
    await deliver(house, STARTED | {"event_ts": 2})
    await house.work()
    assert len(started.keys) == 1


async def test_an_event_nobody_knows_is_taken_and_kept(house: House) -> None:
    await connect(house)
    answer = await deliver(house, STARTED | {"event": "meeting.brand_new"})
    await house.work()
    assert answer.status_code == 204
    [row] = await house.rows("SELECT outcome FROM deliveries")
    assert row["outcome"] == "unknown"


def refused_bodies() -> dict[str, tuple[bytes, dict[str, str]]]:
    """What is sent, and under which headers, by whoever has seen a true delivery or knows no secret."""
    said, spaced = json.dumps(STARTED).encode(), json.dumps(STARTED, indent=1).encode()
    large = json.dumps(STARTED | {"padding": "x" * LARGEST_BODY}).encode()
    return {
        "forged": (said, signed(said, "not-the-secret")),
        "stale": (said, signed(said, at=NOW - timedelta(hours=3))),
        "from the future": (said, signed(said, at=NOW + timedelta(hours=1))),
        "stamped anew": (said, signed(said) | {"x-zm-request-timestamp": str(int(NOW.timestamp()) - 1)}),
        "truncated": (said[:-1], signed(said)),
        "added to": (said + b" ", signed(said)),
        "re-serialised": (spaced, signed(said)),
        "oversize": (large, signed(large)),
    }


@pytest.mark.parametrize("case", refused_bodies())
async def test_a_refused_delivery_has_no_effect(house: House, started: Noted, case: str) -> None:
    await connect(house)
    body, headers = refused_bodies()[case]
    answer = await house.http.post(HOOKS, content=body, headers=headers)
    await house.work()
    assert answer.status_code == (413 if case == "oversize" else 401)
    assert (await stored(house), started.keys) == (0, [])
    assert await house.rows("SELECT FROM outbox") == []


async def test_a_replayed_delivery_has_no_second_effect(house: House, started: Noted) -> None:
    await connect(house)
    body = json.dumps(STARTED).encode()
    headers = signed(body)
    for minutes in (0, 5, 90):
        house.clock.time = NOW + timedelta(minutes=minutes)
        assert (await house.http.post(HOOKS, content=body, headers=headers)).status_code == 204
        assert (await house.http.post(HOOKS, content=body, headers=signed(body, at=house.clock.now()))).is_success
        await house.work()
    assert (await stored(house), len(started.keys)) == (1, 1)


def deauthorized(at: datetime) -> dict[str, Any]:
    payload = {"account_id": "riverside", "user_id": "owner", "deauthorization_time": at.isoformat()}
    return {"event": "app_deauthorized", "payload": payload}


async def status(house: House, account_id: UUID) -> str:
    rows = await house.rows("SELECT status FROM accounts WHERE id = $1", account_id)
    return str(rows[0]["status"])


async def test_removing_the_app_at_zoom_disconnects_the_account_however_often_it_is_said(house: House) -> None:
    account_id = await connect(house)
    await deliver(house, deauthorized(NOW))
    await deliver(house, deauthorized(NOW) | {"again": True})
    await house.work()
    assert await status(house, account_id) == "disconnected"
    assert await house.rows("SELECT FROM outbox") == []


async def test_removing_the_app_before_it_was_connected_again_is_void(house: House) -> None:
    account_id = await connect(house)
    await deliver(house, deauthorized(NOW - timedelta(days=2)))
    await house.work()
    assert await status(house, account_id) == "connected"
    [row] = await house.rows("SELECT outcome FROM deliveries")
    assert row["outcome"] == "void"


async def test_an_accounts_own_secret_cannot_say_that_the_app_was_removed(house: House) -> None:
    account_id = await with_own_secret(house, "own-secret")
    answer = await deliver(house, deauthorized(NOW), f"{HOOKS}/{account_id}", secret="own-secret")
    await house.work()
    assert answer.status_code == 204
    assert await status(house, account_id) == "connected"


async def test_when_nothing_can_be_stored_zoom_is_asked_to_come_again(house: House) -> None:
    await house.rows("ALTER TABLE deliveries RENAME TO elsewhere")
    assert (await deliver(house, STARTED)).status_code == 503
    await house.rows("ALTER TABLE elsewhere RENAME TO deliveries")
    assert (await deliver(house, STARTED)).status_code == 204
    assert await stored(house) == 1


async def test_old_bodies_are_forgotten_and_their_digests_outlive_the_window(house: House) -> None:
    await connect(house)
    await deliver(house, STARTED)
    await house.work()
    house.clock.time = NOW + KEPT + timedelta(seconds=1)
    async with house.held.db.transaction() as tx:
        await service.prune(tx, KEPT)
    [row] = await house.rows("SELECT body FROM deliveries")
    assert row["body"] is None
    await deliver(house, STARTED, at=house.clock.now())
    assert await stored(house) == 1
    house.clock.time = NOW + service.DIGESTS_KEPT + timedelta(seconds=1)
    async with house.held.db.transaction() as tx:
        await service.prune(tx, KEPT)
    assert await stored(house) == 0


async def prune(house: House) -> Any:
    """Prune; the delivery there is."""
    async with house.held.db.transaction() as tx:
        await service.prune(tx, KEPT)
    [row] = await house.rows("SELECT id, body IS NULL AS pruned, outcome FROM deliveries")
    return row


async def test_a_replay_does_not_prolong_how_long_a_body_is_kept(house: House) -> None:
    await connect(house)
    await deliver(house, STARTED)
    await house.work()
    house.clock.time = NOW + KEPT - timedelta(hours=1)
    row = await prune(house)
    async with house.held.db.transaction() as tx:
        tx.record(facts.DeliveryStored(row["id"]))
    house.clock.time = NOW + KEPT + timedelta(seconds=1)
    assert not (await prune(house))["pruned"], "the replay is still to be done"
    await house.work()
    row = await prune(house)
    assert (row["pruned"], row["outcome"]) == (True, "understood")


async def test_a_body_that_could_never_be_read_is_forgotten_too_and_says_so(house: House) -> None:
    await connect(house)
    await deliver(house, STARTED)
    await house.rows("UPDATE outbox SET dead_at = $1", NOW)
    row = await prune(house)
    assert (row["pruned"], row["outcome"]) == (False, None)
    house.clock.time = NOW + KEPT + timedelta(seconds=1)
    row = await prune(house)
    assert (row["pruned"], row["outcome"]) == (True, "unread")
    async with house.held.db.transaction() as tx:
        tx.record(facts.DeliveryStored(row["id"]))
    await house.work()
    [dead] = await house.rows("SELECT reason FROM outbox WHERE dead_at IS NOT NULL")
    assert dead["reason"] == "NotNow: the delivery is gone"


async def test_how_long_bodies_are_kept_is_a_setting(house: House) -> None:
    await connect(house)
    await deliver(house, STARTED)
    await house.work()
    sweep: Reactions[Any] = Reactions(bound(facts.AccountConnected, tasks.tidy, "account_id"))
    for days, body in ((20, False), (10, True)):
        house.clock.time = NOW + timedelta(days=15)
        settings = house.held.settings.model_copy(update={"deliveries_kept_days": days})
        held = dataclasses.replace(house.held, settings=settings)
        async with held.db.transaction() as tx:
            await tx.run(
                "INSERT INTO outbox (reaction, key, due_at, priority, recorded_at)"
                " VALUES ('test.AccountConnected', :key, :now, 1, :now)",
                key=str(uuid4()), now=tx.now,
            )  # fmt: skip
        runner = Runner(held.db, held.clock, sweep, held)
        await runner.start(await runner.claim(1, 1))
        await runner.drain(PATIENCE)
        [row] = await house.rows("SELECT body IS NULL AS pruned FROM deliveries")
        assert row["pruned"] is body


async def test_a_delivery_nobody_has_understood_yet_is_never_forgotten(house: House) -> None:
    await deliver(house, STARTED)
    house.clock.time = NOW + timedelta(days=400)
    async with house.held.db.transaction() as tx:
        await service.prune(tx, KEPT)
    [row] = await house.rows("SELECT body FROM deliveries")
    assert row["body"] is not None
