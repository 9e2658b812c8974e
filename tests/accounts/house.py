"""The accounts room with a real database and the simulator, driven as the SPA and a browser would."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx

from app import facts
from app.accounts import cards, confirm, connect, service, tasks
from app.accounts.models import Account
from app.clients.zoom import SCOPES
from app.core import periodic
from app.core.clock import Clock
from app.core.identity import Caller, Role
from app.core.settings import Settings
from app.core.work import Binding, Reaction, Reactions, Runner
from app.resources import Resources, open_resources
from app.web import Inside
from tests.patience import PATIENCE

CALLBACK = "https://kindryn.test/api/integrations/zoom/callback"
ADA, BEN, CLEO, WIL = "ada@riverside.example", "ben@riverside.example", "cleo@riverside.example", "wil@willow.example"
REQUIRED = tuple(scope.name for scope in SCOPES if scope.required)
ADMIN_SCOPES = tuple(f"{name.removesuffix(':admin')}:admin" for name in REQUIRED)
ENCRYPTION_KEYS = "k1:" + "A" * 42 + "E"


class MovedClock(Clock):
    """The real time, and a bit."""

    ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


READ: Reaction[Resources] = Reaction("accounts.read", tasks.read_account)
REVOKE: Reaction[Resources] = Reaction("accounts.revoke", tasks.revoke)
TIDY: Reaction[Resources] = Reaction("accounts.tidy", tasks.tidy, every=timedelta(minutes=10))
REREAD: Reaction[Resources] = Reaction("accounts.reread", tasks.reread_stale, every=timedelta(hours=1))


def _by_account(reaction: Reaction[Resources]) -> Binding[Resources]:
    return Binding(reaction, lambda fact: str(fact.account_id), lambda fact: str(fact.account_id))


REACTIONS: Reactions[Resources] = Reactions(
    facts={
        facts.AccountConnected: [_by_account(READ)],
        facts.HostsChanged: [],
        facts.AccountRefreshAsked: [_by_account(READ)],
        facts.AccountDisconnected: [],
        facts.AccountLost: [],
        facts.GrantRevocable: [Binding(REVOKE, lambda fact: str(fact.revocation_id), lambda _: "")],
    },
    sweeps=[TIDY, REREAD],
)


def settings_for(database_url: str, zoom_url: str, **changes: Any) -> Settings:
    """The settings of a process that finds Zoom at `zoom_url`."""
    given: dict[str, Any] = {
        "database_url": database_url,
        "redis_url": "redis://127.0.0.1:1/0",
        "public_url": "https://kindryn.test",
        "spa_url": "https://spa.test",
        "auth_jwks_url": "https://platform.test/jwks",
        "auth_issuer": "https://platform.test",
        "auth_audience": "kindryn-zoom",
        "encryption_keys": ENCRYPTION_KEYS,
        "smtp_url": "smtp://127.0.0.1:1",
        "mail_from": "events@kindryn.test",
        "zoom_client_id": "client-id",
        "zoom_client_secret": "client-secret",
        "zoom_redirect_uri": CALLBACK,
        "zoom_webhook_secret_token": "webhook-secret",
        "zoom_oauth_url": zoom_url,
        "zoom_api_url": zoom_url,
    }
    return Settings(**(given | changes))


def admin(
    member_id: str = "olga",
    community: str = "c1",
    email: str | None = ADA,
    *,
    verified: bool = True,
    role: Role = Role.ADMIN,
) -> Inside:
    """Somebody with a role in a community, whose slug is the id with `slug-` before it."""
    caller = Caller(member_id, email, verified, member_id.title(), None, (), False)
    return Inside(community, f"slug-{community}", role, caller)


@dataclass
class House:
    """The room, and the Zoom it talks to."""

    resources: Resources
    clock: MovedClock
    zoom: httpx.AsyncClient

    async def leave(self, inside: Inside) -> str:
        """Begin a connect; the URL of the consent page."""
        async with self.resources.db.transaction() as tx:
            await tx.run(
                "INSERT INTO communities (id, slug) VALUES (:id, :slug) ON CONFLICT DO NOTHING",
                id=inside.community_id,
                slug=inside.slug,
            )
            return await connect.begin(tx, self.resources, inside)

    async def consent(self, authorize_url: str, email: str = ADA, decision: str = "approve") -> dict[str, str]:
        """Somebody decides on the consent page; the query Zoom sends back."""
        answer = await self.zoom.get(f"{authorize_url}&as={email}&decision={decision}")
        assert answer.status_code == 302, answer.text
        location = answer.headers["location"]
        assert location.startswith(CALLBACK)
        return query_of(location)

    async def come_back(self, state: str, code: str | None, error: str = "") -> str:
        """The callback; the page of the SPA."""
        async with self.resources.db.transaction() as tx:
            return await connect.returned(tx, self.resources, state, code or "", error)

    async def handle(self, inside: Inside, email: str = ADA) -> str:
        """Everything up to the confirmation."""
        back = await self.consent(await self.leave(inside), email)
        return query_of(await self.come_back(back["state"], back["code"]))["handle"]

    async def connect(self, inside: Inside, email: str = ADA) -> UUID:
        """A whole connect."""
        return await confirm.confirm(self.resources, inside, await self.handle(inside, email))

    async def disconnect(self, account_id: UUID) -> None:
        """A whole disconnect."""
        async with self.resources.db.transaction() as tx:
            account = await service.get(tx, account_id)
            assert account is not None
            await service.disconnect(tx, self.resources, account)

    async def account(self, account_id: UUID) -> Account:
        """The row as it is now."""
        async with self.resources.db.transaction() as tx:
            return await tx.session.get_one(Account, account_id)

    async def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """What a statement finds."""
        async with self.resources.db.transaction() as tx:
            return list(await tx.run(sql, **parameters))

    async def change(self, sql: str, **parameters: Any) -> None:
        """Change the database behind the room's back."""
        async with self.resources.db.transaction() as tx:
            await tx.run(sql, **parameters)

    async def work(self) -> None:
        """Run everything that is due, and what follows from it."""
        runner = Runner(self.resources.db, self.clock, REACTIONS, self.resources)
        while ids := await runner.claim(100, 100):
            await runner.start(ids)
            await runner.drain(PATIENCE)

    async def sweep(self, *names: str) -> None:
        """Run sweeps as if their time had come; all of them, unless some are named."""
        runner = Runner(self.resources.db, self.clock, REACTIONS, self.resources)
        await periodic.plant(self.resources.db, REACTIONS.sweeps)
        await self.change(
            "UPDATE outbox SET due_at = :now WHERE key = '' AND reaction = ANY(:names)",
            now=self.clock.now(),
            names=list(names) or [sweep.name for sweep in REACTIONS.sweeps],
        )
        due = "SELECT id FROM outbox WHERE key = '' AND due_at <= :now AND reaction = ANY(:names)"
        wanted = list(names) or [sweep.name for sweep in REACTIONS.sweeps]
        await runner.start([row.id for row in await self.rows(due, now=self.clock.now(), names=wanted)])
        await runner.drain(PATIENCE)

    async def card(self, community: str = "c1") -> dict[UUID, cards.AccountCard]:
        """The accounts on a community's card."""
        async with self.resources.db.transaction() as tx:
            card = await cards.integration(tx, community, configured=True)
        return {account.id: account for account in card.accounts}

    async def calls(self, operation: str) -> list[dict[str, Any]]:
        """What Zoom was asked, of one operation."""
        answer = await self.zoom.get("/simulator/journal", params={"operation": operation})
        entries: list[dict[str, Any]] = answer.json()
        return entries

    async def asked(self, operation: str) -> None:
        """Wait until Zoom has been asked this."""
        async with asyncio.timeout(PATIENCE):
            while not await self.calls(operation):  # noqa: ASYNC110 - the simulator rings nobody
                await asyncio.sleep(0.01)

    async def waits_for_a_lock(self) -> None:
        """Wait until somebody waits for a lock in the database."""
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(PATIENCE):
            while not await self.rows(waiting):  # noqa: ASYNC110 - a lock rings nobody
                await asyncio.sleep(0.01)

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """One control of the simulator."""
        answer = await self.zoom.request(method, f"/simulator{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def fault(self, kind: str, operation: str, **more: Any) -> None:
        """What goes wrong with the next calls of one operation."""
        await self.control("PUT", "/faults", {"calls": [{"kind": kind, "operation": operation, **more}]})

    async def grants_alive(self) -> int:
        """How many grants live at Zoom."""
        state = await self.control("GET", "/state")
        return sum(grant["alive"] for grant in state["grants"])

    async def expire(self, account_id: UUID) -> None:
        """Let the access token be an hour old."""
        await self.change("UPDATE grants SET expires_at = now() WHERE account_id = :id", id=account_id)


@contextlib.asynccontextmanager
async def opened(settings: Settings, zoom: httpx.AsyncClient) -> AsyncIterator[House]:
    """A house with these settings."""
    clock = MovedClock()
    async with open_resources(settings, REACTIONS, clock) as resources:
        yield House(resources, clock, zoom)


def query_of(url: str) -> dict[str, str]:
    """The query of a URL; each name once."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
