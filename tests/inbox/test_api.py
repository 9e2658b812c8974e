"""Zoom's webhooks: a forged delivery is refused, an authentic one is never lost and counts once."""

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
from app.core.job_runner import JobRunner, JobTable
from app.inbox import api, service, tasks, token_bucket
from app.inbox.api import MAX_BODY_BYTES, router
from tests.inbox.harness import (
    APP_SECRET,
    FORMER_SECRET,
    NOW,
    InboxHarness,
    KeyRecorder,
    open_harness,
    subscriptions_of,
)
from tests.support.timeouts import TIMEOUT

RETENTION = timedelta(days=30)
WEBHOOKS_URL = "/api/integrations/zoom/webhooks"
STARTED = {
    "event": "meeting.started",
    "event_ts": 1799582400000,
    "payload": {"account_id": "riverside", "object": {"id": "81234567890", "uuid": "u==", "host_id": "host-1"}},
}


@pytest.fixture
def started() -> KeyRecorder:
    """The job that runs when a meeting has started."""
    return KeyRecorder()


@pytest.fixture
async def harness(database_url: str, started: KeyRecorder) -> AsyncIterator[InboxHarness]:
    """The webhook routes, and the jobs of the inbox."""
    table = {
        **subscriptions_of(facts.DeliveryStored, tasks.interpret_delivery, "delivery_id"),
        **subscriptions_of(facts.MeetingStarted, started, "delivery_id"),
        **subscriptions_of(facts.AppDeauthorized, tasks.deauthorize, "delivery_id"),
        **subscriptions_of(facts.AccountDisconnected, KeyRecorder(), "account_id"),
    }
    async with open_harness(database_url, [router], table) as harness:
        yield harness


def signed_headers(
    body: bytes,
    secret: str = APP_SECRET,
    at: datetime = NOW,
    *,
    milliseconds: bool = False,
    content_type: str = "application/json",
) -> dict[str, str]:
    """The headers that Zoom sends with a signed body."""
    stamp = str(int(at.timestamp() * (1000 if milliseconds else 1)))
    mark = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"x-zm-request-timestamp": stamp, "x-zm-signature": f"v0={mark}", "content-type": content_type}


async def deliver(
    harness: InboxHarness, notification: dict[str, Any], path: str = WEBHOOKS_URL, **options: Any
) -> httpx.Response:
    body = json.dumps(notification).encode()
    return await harness.http.post(path, content=body, headers=signed_headers(body, **options))


async def count_stored(harness: InboxHarness) -> int:
    rows = await harness.query("SELECT count(*) AS stored FROM deliveries")
    return int(rows[0]["stored"])


async def connect(harness: InboxHarness, account_id: UUID | None = None, **columns: object) -> UUID:
    """Insert a connected account of the Zoom account `riverside`."""
    account_id = account_id or uuid4()
    values = {
        "id": account_id,
        "community_id": "c1",
        "zoom_account_id": "riverside",
        "zoom_user_id": "owner",
        "user_scope": "",
        "status": "connected",
        "connected_by": "ann",
        "connected_at": NOW - timedelta(days=1),
    } | columns
    community = values["community_id"]
    await harness.query("INSERT INTO communities (id, slug) VALUES ($1, $1) ON CONFLICT DO NOTHING", community)
    names = ", ".join(values)
    places = ", ".join(f"${i}" for i in range(1, len(values) + 1))
    await harness.query(f"INSERT INTO accounts ({names}) VALUES ({places})", *values.values())  # noqa: S608 - names of this file
    return account_id


async def connect_with_secret(harness: InboxHarness, secret: str, **columns: object) -> UUID:
    account_id = uuid4()
    encrypted = harness.resources.encryption.encrypt(secret, f"accounts.webhook_secret:{account_id}")
    return await connect(harness, account_id, **{"webhook_secret": encrypted} | columns)


@pytest.mark.parametrize("options", [{}, {"milliseconds": True}, {"secret": FORMER_SECRET}])
async def test_what_zoom_signed_is_stored_sealed_and_asked_for_at_once(
    harness: InboxHarness, options: dict[str, Any]
) -> None:
    answer = await deliver(harness, STARTED, **options)
    assert (answer.status_code, answer.content) == (204, b"")
    [row] = await harness.query("SELECT id, kind, zoom_account_id, signed_by, body FROM deliveries")
    assert (row["kind"], row["zoom_account_id"], row["signed_by"]) == ("meeting.started", "riverside", None)
    assert b"81234567890" not in row["body"]
    assert json.loads(harness.resources.encryption.decrypt(row["body"], f"deliveries.body:{row['id']}")) == STARTED
    assert [work["key"] for work in await harness.query("SELECT key FROM outbox")] == [str(row["id"])]


async def test_a_delivery_repeated_at_once_and_signed_anew_counts_once(harness: InboxHarness) -> None:
    answers = await asyncio.gather(*(deliver(harness, STARTED) for _ in range(20)))
    later = await deliver(harness, STARTED, at=NOW + timedelta(minutes=5) - timedelta(seconds=1))
    assert {answer.status_code for answer in (*answers, later)} == {204}
    assert await count_stored(harness) == 1
    [row] = await harness.query("SELECT generation FROM outbox")
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
async def test_what_zoom_did_not_sign_leaves_nothing(harness: InboxHarness, changes: dict[str, str]) -> None:
    body = json.dumps(STARTED).encode()
    headers = [
        (name.encode(), value.encode("latin-1")) for name, value in (signed_headers(body) | changes).items() if value
    ]
    answer = await harness.http.post(WEBHOOKS_URL, content=body, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["type"].endswith("/unauthentic")
    assert await count_stored(harness) == 0


async def test_a_secret_that_is_nobodys_signs_nothing(harness: InboxHarness) -> None:
    assert (await deliver(harness, STARTED, secret="guessed")).status_code == 401
    assert await count_stored(harness) == 0


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
async def test_the_window_outlives_zooms_retries_and_ends(harness: InboxHarness, age: timedelta, status: int) -> None:
    assert (await deliver(harness, STARTED, at=NOW - age)).status_code == status
    assert await count_stored(harness) == (status == 204)


async def test_the_raw_bytes_count_and_nothing_said_the_same_way(harness: InboxHarness) -> None:
    odd = (
        '{"event" : "meeting.started", "payload":{"topic":"Caf\\u00e9 \\/ Zürich", "account_id":"riverside"}}'.encode()
    )
    rewritten = json.dumps(json.loads(odd)).encode()
    assert (await harness.http.post(WEBHOOKS_URL, content=rewritten, headers=signed_headers(odd))).status_code == 401
    assert (await harness.http.post(WEBHOOKS_URL, content=odd, headers=signed_headers(odd))).status_code == 204


async def test_a_delivery_that_is_too_large_is_not_read_to_its_end(harness: InboxHarness) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 65536

    body = b" " * (MAX_BODY_BYTES + 1)
    assert (await harness.http.post(WEBHOOKS_URL, content=body, headers=signed_headers(body))).status_code == 413
    assert (await harness.http.post(WEBHOOKS_URL, content=endless(), headers=signed_headers(b""))).status_code == 413
    assert await count_stored(harness) == 0


async def test_the_largest_delivery_is_stored(harness: InboxHarness) -> None:
    body = json.dumps(STARTED).encode().ljust(MAX_BODY_BYTES)
    assert (await harness.http.post(WEBHOOKS_URL, content=body, headers=signed_headers(body))).status_code == 204


async def test_a_delivery_cut_short_leaves_nothing(harness: InboxHarness) -> None:
    body = json.dumps(STARTED).encode()
    cut = await harness.http.post(WEBHOOKS_URL, content=body[:-1], headers=signed_headers(body))
    assert cut.status_code == 401
    reader, writer = await asyncio.open_connection(*harness.url.removeprefix("http://").split(":"))
    head = f"POST {WEBHOOKS_URL} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    fields = "".join(f"{name}: {value}\r\n" for name, value in signed_headers(body).items())
    writer.write(f"{head}{fields}\r\n".encode() + body[:-10])
    writer.write_eof()
    await asyncio.wait_for(reader.read(), TIMEOUT)
    writer.close()
    await writer.wait_closed()
    assert await count_stored(harness) == 0


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"payload":{}}', b'{"event":"x","payload":[1]}', b"\xff"])
async def test_what_is_signed_but_no_notification_is_refused(harness: InboxHarness, body: bytes) -> None:
    answer = await harness.http.post(WEBHOOKS_URL, content=body, headers=signed_headers(body))
    assert answer.status_code == 400
    assert await count_stored(harness) == 0


async def test_another_kind_of_content_is_refused_and_zooms_own_spelling_is_not(harness: InboxHarness) -> None:
    body = json.dumps(STARTED).encode()
    form = signed_headers(body, content_type="application/x-www-form-urlencoded")
    assert (await harness.http.post(WEBHOOKS_URL, content=body, headers=form)).status_code == 400
    spelled = signed_headers(body, content_type="Application/JSON; charset=utf-8")
    assert (await harness.http.post(WEBHOOKS_URL, content=body, headers=spelled)).status_code == 204


async def test_text_no_database_can_hold_is_stored_all_the_same(harness: InboxHarness) -> None:
    body = b'{"event":"odd\\u0000\\ud800' + b"x" * 1000 + b'","payload":{"account_id":"a\\u0000"}}'
    assert (await harness.http.post(WEBHOOKS_URL, content=body, headers=signed_headers(body))).status_code == 204
    [row] = await harness.query("SELECT kind, zoom_account_id FROM deliveries")
    assert row["kind"].startswith("odd")
    assert row["zoom_account_id"] == "a"


async def test_a_signed_challenge_is_answered_with_the_secret_that_signed_it(harness: InboxHarness) -> None:
    challenge = {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
    for secret in (APP_SECRET, FORMER_SECRET):
        answer = await deliver(harness, challenge, secret=secret)
        expected = hmac.new(secret.encode(), b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
        assert answer.status_code == 200
        assert answer.json() == {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": expected}
    assert await count_stored(harness) == 0


@pytest.mark.parametrize("token", ["v0:1799582400:{}", "x" * 65, "", None, 7])
async def test_nothing_that_could_be_a_message_is_signed_as_a_challenge(harness: InboxHarness, token: object) -> None:
    answer = await deliver(harness, {"event": "endpoint.url_validation", "payload": {"plainToken": token}})
    assert answer.status_code == 400
    assert "encryptedToken" not in answer.text


async def test_an_unsigned_challenge_learns_nothing(harness: InboxHarness) -> None:
    body = b'{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}'
    answer = await harness.http.post(WEBHOOKS_URL, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 401
    assert "encryptedToken" not in answer.text


async def test_an_accounts_own_secret_speaks_for_that_account_alone(harness: InboxHarness) -> None:
    own = await connect_with_secret(harness, "own-secret")
    elsewhere = STARTED | {"payload": {"account_id": "willow", "object": {"id": "1"}}}
    assert (await deliver(harness, STARTED, f"{WEBHOOKS_URL}/{own}", secret="own-secret")).status_code == 204
    assert (await deliver(harness, elsewhere, f"{WEBHOOKS_URL}/{own}", secret="own-secret")).status_code == 401
    assert (await deliver(harness, STARTED, secret="own-secret")).status_code == 401
    assert (await deliver(harness, STARTED | {"event_ts": 1}, f"{WEBHOOKS_URL}/{own}")).status_code == 401
    [row] = await harness.query("SELECT signed_by FROM deliveries")
    assert row["signed_by"] == own


async def test_what_an_account_says_beyond_its_limit_is_not_stored_and_zoom_sends_it_again(
    harness: InboxHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood signed with one account's own secret cannot fill the database; the app's has no limit."""
    monkeypatch.setattr(token_bucket, "BURST", 3)
    monkeypatch.setattr(token_bucket, "REFILL_PER_SECOND", 0.001)
    monkeypatch.setattr(api, "_TOKEN_BUCKETS", token_bucket.TokenBuckets())
    own = await connect_with_secret(harness, "own-secret")
    answers = [
        await deliver(harness, STARTED | {"event_ts": number}, f"{WEBHOOKS_URL}/{own}", secret="own-secret")
        for number in range(5)
    ]
    assert [answer.status_code for answer in answers] == [204, 204, 204, 503, 503]
    assert answers[-1].headers["Retry-After"] == "60"
    assert await count_stored(harness) == 3
    assert (await deliver(harness, STARTED | {"event_ts": 9})).status_code == 204


async def replace_secret(harness: InboxHarness, account_id: UUID, secret: str) -> None:
    """An admin enters a new secret for the account."""
    async with harness.resources.db.transaction() as tx:
        account = await tx.session.get_one(Account, account_id)
        webhook_secrets.replace(account, harness.resources.encryption, secret, tx.now)


async def test_while_an_own_secret_is_replaced_nothing_signed_with_either_is_lost_or_counts_twice(
    harness: InboxHarness,
) -> None:
    own = await connect_with_secret(harness, "own-secret-1")
    await replace_secret(harness, own, "own-secret-2")
    for number in range(10):
        secret = f"own-secret-{number % 2 + 1}"
        answer = await deliver(harness, STARTED | {"event_ts": number}, f"{WEBHOOKS_URL}/{own}", secret=secret)
        assert answer.status_code == 204
    for number in range(10):
        again = await deliver(harness, STARTED | {"event_ts": number}, f"{WEBHOOKS_URL}/{own}", secret="own-secret-2")
        assert again.status_code == 204
    assert await count_stored(harness) == 10


async def test_a_day_later_a_replaced_secret_speaks_for_nobody(harness: InboxHarness) -> None:
    own = await connect_with_secret(harness, "own-secret-1")
    await replace_secret(harness, own, "own-secret-2")
    harness.clock.time = later = NOW + webhook_secrets.OVERLAP
    for secret, status in (("own-secret-1", 401), ("own-secret-2", 204)):
        answer = await deliver(harness, STARTED, f"{WEBHOOKS_URL}/{own}", secret=secret, at=later)
        assert answer.status_code == status
    assert await count_stored(harness) == 1


async def test_a_slip_put_right_loses_nothing_that_was_signed_with_the_secret_before_it(harness: InboxHarness) -> None:
    own = await connect_with_secret(harness, "own-secret-1")
    await replace_secret(harness, own, "own-secert-2")
    await replace_secret(harness, own, "own-secret-2")
    for number, secret in enumerate(("own-secret-1", "own-secert-2", "own-secret-2")):
        answer = await deliver(harness, STARTED | {"event_ts": number}, f"{WEBHOOKS_URL}/{own}", secret=secret)
        assert answer.status_code == 204


async def test_of_five_secrets_the_first_counts_no_longer_and_said_again_none_lives_on(harness: InboxHarness) -> None:
    own = await connect_with_secret(harness, "own-secret-1")
    for number in range(2, 6):
        await replace_secret(harness, own, f"own-secret-{number}")
    for number, status in ((1, 401), (2, 204), (4, 204), (5, 204)):
        notification = STARTED | {"event_ts": number}
        answer = await deliver(harness, notification, f"{WEBHOOKS_URL}/{own}", secret=f"own-secret-{number}")
        assert answer.status_code == status
    harness.clock.time = NOW + webhook_secrets.OVERLAP - timedelta(minutes=1)
    await replace_secret(harness, own, "own-secret-5")
    harness.clock.time = later = NOW + webhook_secrets.OVERLAP
    assert (
        await deliver(harness, STARTED, f"{WEBHOOKS_URL}/{own}", secret="own-secret-4", at=later)
    ).status_code == 401


async def test_while_an_own_secret_is_replaced_a_challenge_is_answered_with_the_one_that_signed_it(
    harness: InboxHarness,
) -> None:
    own = await connect_with_secret(harness, "own-secret-1")
    await replace_secret(harness, own, "own-secret-2")
    challenge = {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
    for secret in ("own-secret-1", "own-secret-2"):
        answer = await deliver(harness, challenge, f"{WEBHOOKS_URL}/{own}", secret=secret)
        assert (
            answer.json()["encryptedToken"]
            == hmac.new(secret.encode(), b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
        )
    unsigned = await harness.http.post(f"{WEBHOOKS_URL}/{own}", content=json.dumps(challenge).encode())
    assert (unsigned.status_code, "encryptedToken" in unsigned.text) == (401, False)


async def test_an_unknown_account_answers_like_a_wrong_signature(harness: InboxHarness) -> None:
    own = await connect_with_secret(harness, "own-secret")
    disconnected = await connect_with_secret(harness, "own-secret", status="disconnected", user_scope="u9")
    wrong = await deliver(harness, STARTED, f"{WEBHOOKS_URL}/{own}", secret="guessed")
    for unknown in (uuid4(), disconnected, "nonsense"):
        answer = await deliver(harness, STARTED, f"{WEBHOOKS_URL}/{unknown}", secret="own-secret")
        assert (answer.status_code, answer.json() | {"instance": ""}) == (401, wrong.json() | {"instance": ""})


async def test_nobody_can_say_first_what_zoom_is_about_to_tell_another_account(harness: InboxHarness) -> None:
    own = await connect_with_secret(harness, "own-secret", community_id="c2", user_scope="u2")
    account_id = await connect(harness)
    await deliver(harness, STARTED, f"{WEBHOOKS_URL}/{own}", secret="own-secret")
    await deliver(harness, STARTED)
    assert await count_stored(harness) == 2
    await harness.run_due_jobs()
    [row] = await harness.query("SELECT id FROM accounts WHERE notified_at IS NOT NULL")
    assert row["id"] == account_id


async def test_a_delivery_becomes_facts_for_its_account(harness: InboxHarness, started: KeyRecorder) -> None:
    account_id = await connect(harness)
    await deliver(harness, STARTED)
    await harness.run_due_jobs()
    [row] = await harness.query("SELECT id, outcome, interpreted_at FROM deliveries")
    assert (row["outcome"], row["interpreted_at"]) == ("understood", NOW)
    assert started.keys == [str(row["id"])]
    [account] = await harness.query("SELECT notified_at FROM accounts WHERE id = $1", account_id)
    assert account["notified_at"] == NOW
    async with harness.resources.db.transaction() as tx:
        notification = await service.read_notification(tx, harness.resources.encryption, row["id"])
        assert notification.object_id == "81234567890"
        assert await service.resolve_account_ids(tx, row["id"], notification) == [account_id]


@pytest.mark.parametrize("columns", [{"zoom_account_id": "willow"}, {"status": "disconnected"}])
async def test_a_delivery_for_nobody_here_is_kept_and_has_no_effect(
    harness: InboxHarness, started: KeyRecorder, columns: dict[str, Any]
) -> None:
    await connect(harness, **columns)
    await deliver(harness, STARTED)
    await harness.run_due_jobs()
    [row] = await harness.query("SELECT outcome, body FROM deliveries")
    assert row["outcome"] == "foreign"
    assert row["body"] is not None
    assert started.keys == []


async def test_a_connection_of_one_user_hears_of_that_user_only(harness: InboxHarness, started: KeyRecorder) -> None:
    await connect(harness, user_scope="host-2")
    await deliver(harness, STARTED)
    await harness.run_due_jobs()
    assert started.keys == []
    await connect(harness, user_scope="host-1", community_id="c2")
    await deliver(harness, STARTED | {"event_ts": 2})
    await harness.run_due_jobs()
    assert len(started.keys) == 1


async def test_an_event_nobody_knows_is_taken_and_kept(harness: InboxHarness) -> None:
    await connect(harness)
    answer = await deliver(harness, STARTED | {"event": "meeting.brand_new"})
    await harness.run_due_jobs()
    assert answer.status_code == 204
    [row] = await harness.query("SELECT outcome FROM deliveries")
    assert row["outcome"] == "unknown"


def refused_bodies() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Bodies and headers that an attacker could send who has seen an authentic delivery."""
    body = json.dumps(STARTED).encode()
    spaced = json.dumps(STARTED, indent=1).encode()
    large = json.dumps(STARTED | {"padding": "x" * MAX_BODY_BYTES}).encode()
    return {
        "forged": (body, signed_headers(body, "not-the-secret")),
        "stale": (body, signed_headers(body, at=NOW - timedelta(hours=3))),
        "from the future": (body, signed_headers(body, at=NOW + timedelta(hours=1))),
        "stamped anew": (body, signed_headers(body) | {"x-zm-request-timestamp": str(int(NOW.timestamp()) - 1)}),
        "truncated": (body[:-1], signed_headers(body)),
        "added to": (body + b" ", signed_headers(body)),
        "re-serialised": (spaced, signed_headers(body)),
        "oversize": (large, signed_headers(large)),
    }


@pytest.mark.parametrize("case", refused_bodies())
async def test_a_refused_delivery_has_no_effect(harness: InboxHarness, started: KeyRecorder, case: str) -> None:
    await connect(harness)
    body, headers = refused_bodies()[case]
    answer = await harness.http.post(WEBHOOKS_URL, content=body, headers=headers)
    await harness.run_due_jobs()
    assert answer.status_code == (413 if case == "oversize" else 401)
    assert (await count_stored(harness), started.keys) == (0, [])
    assert await harness.query("SELECT FROM outbox") == []


async def test_a_replayed_delivery_has_no_second_effect(harness: InboxHarness, started: KeyRecorder) -> None:
    await connect(harness)
    body = json.dumps(STARTED).encode()
    headers = signed_headers(body)
    for minutes in (0, 5, 90):
        harness.clock.time = NOW + timedelta(minutes=minutes)
        assert (await harness.http.post(WEBHOOKS_URL, content=body, headers=headers)).status_code == 204
        assert (
            await harness.http.post(WEBHOOKS_URL, content=body, headers=signed_headers(body, at=harness.clock.now()))
        ).is_success
        await harness.run_due_jobs()
    assert (await count_stored(harness), len(started.keys)) == (1, 1)


def deauthorization(at: datetime) -> dict[str, Any]:
    payload = {"account_id": "riverside", "user_id": "owner", "deauthorization_time": at.isoformat()}
    return {"event": "app_deauthorized", "payload": payload}


async def account_status(harness: InboxHarness, account_id: UUID) -> str:
    rows = await harness.query("SELECT status FROM accounts WHERE id = $1", account_id)
    return str(rows[0]["status"])


async def test_removing_the_app_at_zoom_disconnects_the_account_however_often_it_is_said(harness: InboxHarness) -> None:
    account_id = await connect(harness)
    await deliver(harness, deauthorization(NOW))
    await deliver(harness, deauthorization(NOW) | {"again": True})
    await harness.run_due_jobs()
    assert await account_status(harness, account_id) == "disconnected"
    assert await harness.query("SELECT FROM outbox") == []


async def test_removing_the_app_before_it_was_connected_again_is_void(harness: InboxHarness) -> None:
    account_id = await connect(harness)
    await deliver(harness, deauthorization(NOW - timedelta(days=2)))
    await harness.run_due_jobs()
    assert await account_status(harness, account_id) == "connected"
    [row] = await harness.query("SELECT outcome FROM deliveries")
    assert row["outcome"] == "void"


async def test_an_accounts_own_secret_cannot_say_that_the_app_was_removed(harness: InboxHarness) -> None:
    account_id = await connect_with_secret(harness, "own-secret")
    answer = await deliver(harness, deauthorization(NOW), f"{WEBHOOKS_URL}/{account_id}", secret="own-secret")
    await harness.run_due_jobs()
    assert answer.status_code == 204
    assert await account_status(harness, account_id) == "connected"


async def test_when_nothing_can_be_stored_zoom_is_asked_to_come_again(harness: InboxHarness) -> None:
    await harness.query("ALTER TABLE deliveries RENAME TO elsewhere")
    assert (await deliver(harness, STARTED)).status_code == 503
    await harness.query("ALTER TABLE elsewhere RENAME TO deliveries")
    assert (await deliver(harness, STARTED)).status_code == 204
    assert await count_stored(harness) == 1


async def test_old_bodies_are_forgotten_and_their_digests_outlive_the_window(harness: InboxHarness) -> None:
    await connect(harness)
    await deliver(harness, STARTED)
    await harness.run_due_jobs()
    harness.clock.time = NOW + RETENTION + timedelta(seconds=1)
    async with harness.resources.db.transaction() as tx:
        await service.prune(tx, RETENTION)
    [row] = await harness.query("SELECT body FROM deliveries")
    assert row["body"] is None
    await deliver(harness, STARTED, at=harness.clock.now())
    assert await count_stored(harness) == 1
    harness.clock.time = NOW + service.DIGEST_RETENTION + timedelta(seconds=1)
    async with harness.resources.db.transaction() as tx:
        await service.prune(tx, RETENTION)
    assert await count_stored(harness) == 0


async def prune_and_read(harness: InboxHarness) -> Any:
    """Prune; return the only delivery."""
    async with harness.resources.db.transaction() as tx:
        await service.prune(tx, RETENTION)
    [row] = await harness.query("SELECT id, body IS NULL AS pruned, outcome FROM deliveries")
    return row


async def test_a_replay_does_not_prolong_how_long_a_body_is_kept(harness: InboxHarness) -> None:
    await connect(harness)
    await deliver(harness, STARTED)
    await harness.run_due_jobs()
    harness.clock.time = NOW + RETENTION - timedelta(hours=1)
    row = await prune_and_read(harness)
    async with harness.resources.db.transaction() as tx:
        tx.record(facts.DeliveryStored(row["id"]))
    harness.clock.time = NOW + RETENTION + timedelta(seconds=1)
    assert not (await prune_and_read(harness))["pruned"], "the replay is still to be done"
    await harness.run_due_jobs()
    row = await prune_and_read(harness)
    assert (row["pruned"], row["outcome"]) == (True, "understood")


async def test_a_body_that_could_never_be_read_is_forgotten_too_and_says_so(harness: InboxHarness) -> None:
    await connect(harness)
    await deliver(harness, STARTED)
    await harness.query("UPDATE outbox SET dead_at = $1", NOW)
    row = await prune_and_read(harness)
    assert (row["pruned"], row["outcome"]) == (False, None)
    harness.clock.time = NOW + RETENTION + timedelta(seconds=1)
    row = await prune_and_read(harness)
    assert (row["pruned"], row["outcome"]) == (True, "unread")
    async with harness.resources.db.transaction() as tx:
        tx.record(facts.DeliveryStored(row["id"]))
    await harness.run_due_jobs()
    [dead] = await harness.query("SELECT reason FROM outbox WHERE dead_at IS NOT NULL")
    assert dead["reason"] == "RetryLater: the delivery is gone"


async def test_how_long_bodies_are_kept_is_a_setting(harness: InboxHarness) -> None:
    await connect(harness)
    await deliver(harness, STARTED)
    await harness.run_due_jobs()
    sweep: JobTable[Any] = JobTable(subscriptions_of(facts.AccountConnected, tasks.cleanup, "account_id"))
    for days, body in ((20, False), (10, True)):
        harness.clock.time = NOW + timedelta(days=15)
        settings = harness.resources.settings.model_copy(update={"deliveries_kept_days": days})
        resources = dataclasses.replace(harness.resources, settings=settings)
        async with resources.db.transaction() as tx:
            await tx.execute(
                "INSERT INTO outbox (job, key, due_at, priority, recorded_at)"
                " VALUES ('test.AccountConnected', :key, :now, 1, :now)",
                key=str(uuid4()), now=tx.now,
            )  # fmt: skip
        runner = JobRunner(resources.db, resources.clock, sweep, resources)
        await runner.start(await runner.claim(1, 1))
        await runner.drain(TIMEOUT)
        [row] = await harness.query("SELECT body IS NULL AS pruned FROM deliveries")
        assert row["pruned"] is body


async def test_a_delivery_nobody_has_understood_yet_is_never_forgotten(harness: InboxHarness) -> None:
    await deliver(harness, STARTED)
    harness.clock.time = NOW + timedelta(days=400)
    async with harness.resources.db.transaction() as tx:
        await service.prune(tx, RETENTION)
    [row] = await harness.query("SELECT body FROM deliveries")
    assert row["body"] is not None
