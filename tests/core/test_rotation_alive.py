"""Keys rotate under a service that is used meanwhile; what every room sealed then opens with the new key alone."""

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
from app.core import rotation
from app.core.crypto import Seal
from app.core.observe import Observe
from app.demo.mailbox import Mailbox
from app.main import create_app
from tests.living import COMMUNITY, Living, alive, served
from tests.patience import AT_LEISURE, PATIENCE

OLD, NEW = "old:" + "A" * 42 + "E", "new:" + "B" * 42 + "E"
FORMER, PRESENT, ONLY_NEW = Seal.parse(f"{OLD},{NEW}"), Seal.parse(f"{NEW},{OLD}"), Seal.parse(NEW)
HOOKS = f"/api/communities/{COMMUNITY['slug']}/hooks"
CARD = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom"
OWN_SECRET = "the-own-secret-of-the-account"


@pytest.fixture
async def living(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[Living]:
    """The service, sealing with the new key and still opening what the old one sealed."""
    async with alive(database_url, redis_url, mailbox, encryption_keys=f"{NEW},{OLD}") as living:
        yield living


async def reseal(living: Living, seal: Seal) -> int:
    """Rotate once to the first key of `seal`."""
    return sum([await rotation.reseal(living.held.db, seal, column, lambda _: None) for column in COLUMNS])


async def survey(living: Living, seal: Seal) -> dict[str, rotation.Finding]:
    """What lies in every column, by its name."""
    return {str(column): await rotation.survey(living.held.db, seal, column, lambda _: None) for column in COLUMNS}


async def used(living: Living) -> tuple[dict[str, Any], dict[str, Any]]:
    """Something sealed in every column there is; the account and an event that a member is registered for."""
    account, event = await living.connect(), await living.event()
    rsvp = await living.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    assert rsvp.status_code == 200, rsvp.text
    for secret in ("the-one-that-was-replaced", OWN_SECRET):
        own = await living.call(
            "admin", "PUT", f"{CARD}/accounts/{account['id']}/webhook-secret", json={"secret": secret}
        )
        assert own.status_code == 200, own.text
    assert await notified(living, account) == 204
    guest = {"email": "gus@guests.example", "name": "Gus Guest"}
    assert (await living.post("admin", f"/api/events/{event['id']}/guests", guest)).status_code == 201
    link = await living.held.db.hot.fetchval("SELECT join_link FROM registrations WHERE member_id LIKE 'guest:%'")
    form = {"Origin": living.settings.public_url}
    assert (await living.api.post(f"/guest/{link}/code", headers=form)).status_code == 303
    hook = await living.post("admin", HOOKS, {"url": "https://93.184.216.34/hook", "kinds": ["event.live"]})
    assert hook.status_code == 201, hook.text
    assert (await living.post("admin", f"{HOOKS}/{hook.json()['id']}/rotate")).status_code == 200
    leaving = await living.connect("admin", "wil@willow.example")
    refusal = {"kind": "status", "operation": "oauthRevoke", "status": 503, "times": None}
    (await living.zoom.put("/simulator/faults", json={"calls": [refusal]})).raise_for_status()
    assert (await living.call("admin", "DELETE", f"{CARD}/accounts/{leaving['id']}")).status_code == 204
    url = (await living.post("admin", f"{CARD}/connect")).json()["authorize_url"]
    consent = await living.zoom.get(url, params=query(url) | {"as": "wil@willow.example", "decision": "approve"})
    assert "zoom=confirm" in (await living.api.get(consent.headers["location"])).headers["location"]
    await living.quiet()
    return account, event


async def notified(living: Living, account: dict[str, Any]) -> int:
    """Zoom says something through the account's own app; the status of our answer."""
    zoom_account_id, number = await living.held.db.hot.fetchrow(
        "SELECT zoom_account_id, (SELECT count(*) FROM deliveries) FROM accounts WHERE id = $1", account["id"]
    )
    said = {"event": "user.updated", "event_ts": number, "payload": {"account_id": zoom_account_id, "object": {}}}
    body, stamp = json.dumps(said).encode(), str(int(living.clock.now().timestamp()))
    mark = hmac.new(OWN_SECRET.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    headers = {"x-zm-request-timestamp": stamp, "x-zm-signature": f"v0={mark}", "content-type": "application/json"}
    path = f"/api/integrations/zoom/webhooks/{account['id']}"
    return (await living.api.post(path, content=body, headers=headers)).status_code


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@contextlib.asynccontextmanager
async def api_with_only_the_new_key(living: Living) -> AsyncIterator[httpx.AsyncClient]:
    settings = living.settings.model_copy(update={"encryption_keys": SecretStr(NEW)})
    async with (
        served(Observe(create_app(settings, living.clock, limits=AT_LEISURE))) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE) as api,
    ):
        yield api


async def test_a_service_in_use_rotates_and_then_needs_the_old_key_no_more(living: Living) -> None:
    """Every room's own values, at the places they are bound to, and an API and a worker that read them meanwhile."""
    account, event = await used(living)
    await reseal(living, FORMER)
    before = await survey(living, PRESENT)
    assert {name: set(finding.values) for name, finding in before.items()} == {name: {"old"} for name in before}
    assert not any(finding.closed for finding in before.values())

    done = asyncio.Event()

    async def rotate_to_and_fro() -> int:
        turns = 0
        while not done.is_set():
            turns += await reseal(living, FORMER) + await reseal(living, PRESENT)
        return turns

    rotating = asyncio.create_task(rotate_to_and_fro())
    assert [await notified(living, account) for _ in range(40)] == [204] * 40
    await living.quiet()
    done.set()
    assert await rotating > 0
    outcomes = await living.held.db.hot.fetch("SELECT DISTINCT outcome FROM deliveries WHERE kind = 'user.updated'")
    assert [row["outcome"] for row in outcomes] == ["understood"]
    assert await living.held.db.hot.fetchval("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL") == 0

    await reseal(living, PRESENT)
    after = await survey(living, ONLY_NEW)
    assert {name: set(finding.values) for name, finding in after.items()} == {name: {"new"} for name in after}
    assert not any(finding.closed or finding.old for finding in after.values())
    await living.forward(timedelta(hours=24))
    async with api_with_only_the_new_key(living) as api:
        token = {"Authorization": f"Bearer {living.platform.token('member', living.clock.now())}"}
        clicked = await api.post(f"/api/events/{event['id']}/zoom-join", headers=token)
        assert clicked.status_code == 200, clicked.text
        redirect = await api.get(urlsplit(clicked.json()["url"]).path)
        assert redirect.status_code == 303, redirect.text
        assert "Mia" in (await living.zoom.get(redirect.headers["location"])).text


async def test_tokens_that_were_renewed_during_a_rotation_are_the_ones_that_stay(living: Living) -> None:
    """A process that still seals with the old key renews the grant while the rotation looks at it."""
    account = await living.connect()
    await reseal(living, FORMER)
    columns = [column for column in COLUMNS if column.table == "grants"]
    token = Token(access_token="fresh", refresh_token="next", expires_in=3600, api_url="https://api.zoom.us")
    looked = asyncio.Semaphore(0)
    async with living.held.db.transaction() as tx:
        await token_store.lock(tx, account["id"])
        rotating = [
            asyncio.create_task(rotation.reseal(living.held.db, PRESENT, column, lambda _: looked.release()))
            for column in columns
        ]
        async with asyncio.timeout(PATIENCE):
            for _ in columns:
                await looked.acquire()
        await token_store.keep(tx, FORMER, account["id"], token, living.settings.zoom_api_url)
    assert await asyncio.gather(*rotating) == [1, 1]
    row = await living.held.db.hot.fetchrow("SELECT access_token, refresh_token FROM grants")
    opened = [ONLY_NEW.open(row[column.name], f"{column}:{account['id']}") for column in columns]
    assert opened == ["fresh", "next"]
