"""Keys rotate under a service in use; afterwards every package's values need only the new key."""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr

from app.accounts import token_store
from app.cli.keys import COLUMNS
from app.clients.zoom import Token
from app.core import key_rotation
from app.core.access_log import AccessLogMiddleware
from app.core.crypto import Encryption
from app.devstack.mailbox import Mailbox
from app.main import create_app
from tests.support.service import COMMUNITY, RunningService, run_service, serve
from tests.support.timeouts import RELAXED_LIMITS, TIMEOUT

OLD, NEW = "old:" + "A" * 42 + "E", "new:" + "B" * 42 + "E"
FORMER = Encryption.parse(f"{OLD},{NEW}")
PRESENT = Encryption.parse(f"{NEW},{OLD}")
ONLY_NEW = Encryption.parse(NEW)
HOOKS = f"/api/communities/{COMMUNITY['slug']}/hooks"
CARD = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom"
OWN_SECRET = "the-own-secret-of-the-account"


@pytest.fixture
async def service(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[RunningService]:
    """The service, which encrypts with the new key and still decrypts values of the old one."""
    async with run_service(database_url, redis_url, mailbox, encryption_keys=f"{NEW},{OLD}") as service:
        yield service


async def reencrypt(service: RunningService, encryption: Encryption) -> int:
    """Rotate once to the first key of `encryption`."""
    return sum(
        [await key_rotation.reencrypt(service.resources.db, encryption, column, lambda _: None) for column in COLUMNS]
    )


async def inspect(service: RunningService, encryption: Encryption) -> dict[str, key_rotation.KeyUsage]:
    """Return the key usage of every column, by its name."""
    return {
        str(column): await key_rotation.inspect(service.resources.db, encryption, column, lambda _: None)
        for column in COLUMNS
    }


async def use_every_column(service: RunningService) -> tuple[dict[str, Any], dict[str, Any]]:
    """Store a value in every encrypted column; returns the account and an event with a registration."""
    account = await service.connect()
    event = await service.create_event()
    rsvp = await service.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    assert rsvp.status_code == 200, rsvp.text
    for secret in ("the-one-that-was-replaced", OWN_SECRET):
        own = await service.call(
            "admin", "PUT", f"{CARD}/accounts/{account['id']}/webhook-secret", json={"secret": secret}
        )
        assert own.status_code == 200, own.text
    assert await notify(service, account) == 204
    guest = {"email": "gus@guests.example", "name": "Gus Guest"}
    assert (await service.post("admin", f"/api/events/{event['id']}/guests", guest)).status_code == 201
    link = await service.resources.db.pool.fetchval(
        "SELECT join_link FROM registrations WHERE member_id LIKE 'guest:%'"
    )
    form = {"Origin": service.settings.public_url}
    assert (await service.api.post(f"/guest/{link}/code", headers=form)).status_code == 303
    hook = await service.post("admin", HOOKS, {"url": "https://93.184.216.34/hook", "kinds": ["event.live"]})
    assert hook.status_code == 201, hook.text
    assert (await service.post("admin", f"{HOOKS}/{hook.json()['id']}/rotate")).status_code == 200
    leaving = await service.connect("admin", "wil@willow.example")
    refusal = {"kind": "status", "operation": "oauthRevoke", "status": 503, "times": None}
    (await service.zoom.put("/simulator/faults", json={"calls": [refusal]})).raise_for_status()
    assert (await service.call("admin", "DELETE", f"{CARD}/accounts/{leaving['id']}")).status_code == 204
    url = (await service.post("admin", f"{CARD}/connect")).json()["authorize_url"]
    consent = await service.zoom.get(url, params=query(url) | {"as": "wil@willow.example", "decision": "approve"})
    assert "zoom=confirm" in (await service.api.get(consent.headers["location"])).headers["location"]
    await service.wait_idle()
    return account, event


async def notify(service: RunningService, account: dict[str, Any]) -> int:
    """Send a notification through the account's own app; returns the status of the response."""
    zoom_account_id, number = await service.resources.db.pool.fetchrow(
        "SELECT zoom_account_id, (SELECT count(*) FROM deliveries) FROM accounts WHERE id = $1", account["id"]
    )
    payload = {"event": "user.updated", "event_ts": number, "payload": {"account_id": zoom_account_id, "object": {}}}
    body = json.dumps(payload).encode()
    stamp = str(int(service.clock.now().timestamp()))
    signature = hmac.new(OWN_SECRET.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    headers = {"x-zm-request-timestamp": stamp, "x-zm-signature": f"v0={signature}", "content-type": "application/json"}
    path = f"/api/integrations/zoom/webhooks/{account['id']}"
    return (await service.api.post(path, content=body, headers=headers)).status_code


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@contextlib.asynccontextmanager
async def api_with_only_the_new_key(service: RunningService) -> AsyncIterator[httpx.AsyncClient]:
    settings = service.settings.model_copy(update={"encryption_keys": SecretStr(NEW)})
    async with (
        serve(AccessLogMiddleware(create_app(settings, service.clock, timeouts=RELAXED_LIMITS))) as url,
        httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as api,
    ):
        yield api


async def test_a_service_in_use_rotates_and_then_needs_the_old_key_no_more(service: RunningService) -> None:
    """Values of every package, bound to their rows, with an API and a worker that read them meanwhile."""
    account, event = await use_every_column(service)
    await reencrypt(service, FORMER)
    before = await inspect(service, PRESENT)
    assert {name: set(finding.values) for name, finding in before.items()} == {name: {"old"} for name in before}
    assert not any(finding.unreadable for finding in before.values())

    done = asyncio.Event()

    async def rotate_to_and_fro() -> int:
        turns = 0
        while not done.is_set():
            turns += await reencrypt(service, FORMER) + await reencrypt(service, PRESENT)
        return turns

    rotating = asyncio.create_task(rotate_to_and_fro())
    assert [await notify(service, account) for _ in range(40)] == [204] * 40
    await service.wait_idle()
    done.set()
    assert await rotating > 0
    outcomes = await service.resources.db.pool.fetch(
        "SELECT DISTINCT outcome FROM deliveries WHERE kind = 'user.updated'"
    )
    assert [row["outcome"] for row in outcomes] == ["understood"]
    assert await service.resources.db.pool.fetchval("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL") == 0

    await reencrypt(service, PRESENT)
    after = await inspect(service, ONLY_NEW)
    assert {name: set(finding.values) for name, finding in after.items()} == {name: {"new"} for name in after}
    assert not any(finding.unreadable or finding.outdated for finding in after.values())
    await service.advance_clock(timedelta(hours=24))
    async with api_with_only_the_new_key(service) as api:
        token = {"Authorization": f"Bearer {service.platform.token('member', service.clock.now())}"}
        clicked = await api.post(f"/api/events/{event['id']}/zoom-join", headers=token)
        assert clicked.status_code == 200, clicked.text
        redirect = await api.get(urlsplit(clicked.json()["url"]).path)
        assert redirect.status_code == 303, redirect.text
        assert "Mia" in (await service.zoom.get(redirect.headers["location"])).text


async def test_tokens_that_were_renewed_during_a_rotation_are_the_ones_that_stay(service: RunningService) -> None:
    """A process that still encrypts with the old key renews the grant during the rotation."""
    account = await service.connect()
    await reencrypt(service, FORMER)
    columns = [column for column in COLUMNS if column.table == "grants"]
    token = Token(access_token="fresh", refresh_token="next", expires_in=3600, api_url="https://api.zoom.us")
    looked = asyncio.Semaphore(0)
    async with service.resources.db.transaction() as tx:
        await token_store.lock(tx, account["id"])
        rotating = [
            asyncio.create_task(
                key_rotation.reencrypt(service.resources.db, PRESENT, column, lambda _: looked.release())
            )
            for column in columns
        ]
        async with asyncio.timeout(TIMEOUT):
            for _ in columns:
                await looked.acquire()
        await token_store.store_tokens(tx, FORMER, account["id"], token, service.settings.zoom_api_url)
    assert await asyncio.gather(*rotating) == [1, 1]
    row = await service.resources.db.pool.fetchrow("SELECT access_token, refresh_token FROM grants")
    opened = [ONLY_NEW.decrypt(row[column.name], f"{column}:{account['id']}") for column in columns]
    assert opened == ["fresh", "next"]
