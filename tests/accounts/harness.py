"""Drives the accounts package, with a real database and the simulator, as the SPA and a browser would."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx

from app import commands, facts
from app.accounts import integration_view, oauth_confirm, oauth_connect, service, tasks
from app.accounts.models import Account
from app.clients.zoom import SCOPES
from app.core import periodic
from app.core.clock import Clock
from app.core.identity import Caller, Role
from app.core.job_runner import Job, JobRunner, JobTable, Subscription
from app.core.settings import Settings
from app.resources import Resources, open_resources
from app.web import CommunityMembership
from tests.support.timeouts import TIMEOUT

CALLBACK = "https://kindryn.test/api/integrations/zoom/callback"
ADA, BEN, CLEO, WIL = "ada@riverside.example", "ben@riverside.example", "cleo@riverside.example", "wil@willow.example"
REQUIRED = tuple(scope.name for scope in SCOPES if scope.required)
ADMIN_SCOPES = tuple(f"{name.removesuffix(':admin')}:admin" for name in REQUIRED)
ENCRYPTION_KEYS = "k1:" + "A" * 42 + "E"


class FakeClock(Clock):
    """The real time, plus `ahead`."""

    ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


READ: Job[Resources] = Job("accounts.read", tasks.read_account)
REVOKE: Job[Resources] = Job("accounts.revoke", tasks.revoke)
CLEANUP: Job[Resources] = Job("accounts.cleanup", tasks.cleanup, every=timedelta(minutes=10))
REREAD: Job[Resources] = Job("accounts.read_stale", tasks.reread_stale, every=timedelta(hours=1))


def _by_account(job: Job[Resources]) -> Subscription[Resources]:
    return Subscription(job, lambda fact: str(fact.account_id), lambda fact: str(fact.account_id))


JOBS: JobTable[Resources] = JobTable(
    subscriptions={
        facts.AccountConnected: [_by_account(READ)],
        facts.HostsChanged: [],
        commands.ReadAccount: [_by_account(READ)],
        facts.AccountDisconnected: [],
        facts.AccountNeedsReauth: [],
        commands.RevokeToken: [Subscription(REVOKE, lambda fact: str(fact.revocation_id), lambda _: "")],
    },
    periodic=[CLEANUP, REREAD],
)


def settings_for(database_url: str, zoom_url: str, **changes: Any) -> Settings:
    """Return the settings of a process that finds Zoom at `zoom_url`."""
    defaults: dict[str, Any] = {
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
    return Settings(**(defaults | changes))


def admin(
    member_id: str = "olga",
    community: str = "c1",
    email: str | None = ADA,
    *,
    verified: bool = True,
    role: Role = Role.ADMIN,
) -> CommunityMembership:
    """Return a person with a role in a community, whose slug is `slug-` and the id."""
    caller = Caller(member_id, email, verified, member_id.title(), None, (), False)
    return CommunityMembership(community, f"slug-{community}", role, caller)


@dataclass
class AccountsHarness:
    """The package's resources, its clock, and a client for the simulator."""

    resources: Resources
    clock: FakeClock
    zoom: httpx.AsyncClient

    async def begin_connect(self, membership: CommunityMembership) -> str:
        """Begin a connect; return the URL of the consent page."""
        async with self.resources.db.transaction() as tx:
            await tx.execute(
                "INSERT INTO communities (id, slug) VALUES (:id, :slug) ON CONFLICT DO NOTHING",
                id=membership.community_id,
                slug=membership.slug,
            )
            return await oauth_connect.start(tx, self.resources, membership)

    async def consent(self, authorize_url: str, email: str = ADA, decision: str = "approve") -> dict[str, str]:
        """Decide on the consent page as a Zoom user; return the query with which Zoom redirects."""
        response = await self.zoom.get(f"{authorize_url}&as={email}&decision={decision}")
        assert response.status_code == 302, response.text
        location = response.headers["location"]
        assert location.startswith(CALLBACK)
        return query_of(location)

    async def return_from_zoom(self, state: str, code: str | None, error: str = "") -> str:
        """Handle the callback; return the page of the SPA."""
        async with self.resources.db.transaction() as tx:
            return await oauth_connect.handle_callback(tx, self.resources, state, code or "", error)

    async def connect_handle(self, membership: CommunityMembership, email: str = ADA) -> str:
        """Do everything up to the confirmation; return the handle."""
        back = await self.consent(await self.begin_connect(membership), email)
        return query_of(await self.return_from_zoom(back["state"], back["code"]))["handle"]

    async def connect(self, membership: CommunityMembership, email: str = ADA) -> UUID:
        """Connect an account completely; return its id."""
        return await oauth_confirm.confirm(self.resources, membership, await self.connect_handle(membership, email))

    async def disconnect(self, account_id: UUID) -> None:
        """Disconnect an account here."""
        async with self.resources.db.transaction() as tx:
            account = await service.get(tx, account_id)
            assert account is not None
            await service.disconnect(tx, self.resources, account)

    async def account(self, account_id: UUID) -> Account:
        """Return the account's present row."""
        async with self.resources.db.transaction() as tx:
            return await tx.session.get_one(Account, account_id)

    async def query(self, sql: str, **parameters: Any) -> list[Any]:
        """Return the rows of a statement."""
        async with self.resources.db.transaction() as tx:
            return list(await tx.execute(sql, **parameters))

    async def execute(self, sql: str, **parameters: Any) -> None:
        """Change the database directly."""
        async with self.resources.db.transaction() as tx:
            await tx.execute(sql, **parameters)

    async def run_due_jobs(self) -> None:
        """Run all due jobs, and the jobs that follow from them."""
        runner = JobRunner(self.resources.db, self.clock, JOBS, self.resources)
        while ids := await runner.claim(100, 100):
            await runner.start(ids)
            await runner.drain(TIMEOUT)

    async def run_periodic(self, *names: str) -> None:
        """Run periodic jobs as if they were due: the named ones, or all."""
        runner = JobRunner(self.resources.db, self.clock, JOBS, self.resources)
        await periodic.ensure_periodic_jobs(self.resources.db, JOBS.periodic)
        await self.execute(
            "UPDATE outbox SET due_at = :now WHERE key = '' AND job = ANY(:names)",
            now=self.clock.now(),
            names=list(names) or [job.name for job in JOBS.periodic],
        )
        due = "SELECT id FROM outbox WHERE key = '' AND due_at <= :now AND job = ANY(:names)"
        job_names = list(names) or [job.name for job in JOBS.periodic]
        await runner.start([row.id for row in await self.query(due, now=self.clock.now(), names=job_names)])
        await runner.drain(TIMEOUT)

    async def account_cards(self, community: str = "c1") -> dict[UUID, integration_view.AccountCard]:
        """Return the accounts on a community's card, by id."""
        async with self.resources.db.transaction() as tx:
            card = await integration_view.integration_card(tx, community, configured=True)
        return {account.id: account for account in card.accounts}

    async def zoom_calls(self, operation: str) -> list[dict[str, Any]]:
        """Return the simulator's journal of one operation."""
        response = await self.zoom.get("/simulator/journal", params={"operation": operation})
        entries: list[dict[str, Any]] = response.json()
        return entries

    async def wait_for_call(self, operation: str) -> None:
        """Wait until the simulator has received a call of this operation."""
        async with asyncio.timeout(TIMEOUT):
            while not await self.zoom_calls(operation):  # noqa: ASYNC110 - the simulator signals nothing
                await asyncio.sleep(0.01)

    async def wait_for_lock_waiter(self) -> None:
        """Wait until a connection waits for a lock in the database."""
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(TIMEOUT):
            while not await self.query(waiting):  # noqa: ASYNC110 - a lock signals nothing
                await asyncio.sleep(0.01)

    async def control_simulator(self, method: str, path: str, body: Any = None) -> Any:
        """Use one control of the simulator; return its answer."""
        response = await self.zoom.request(method, f"/simulator{path}", json=body)
        assert response.is_success, response.text
        return response.json()

    async def inject_fault(self, kind: str, operation: str, **more: Any) -> None:
        """Make the next calls of one operation fail in this way."""
        await self.control_simulator("PUT", "/faults", {"calls": [{"kind": kind, "operation": operation, **more}]})

    async def count_live_grants(self) -> int:
        """Return how many grants are alive at the simulator."""
        state = await self.control_simulator("GET", "/state")
        return sum(grant["alive"] for grant in state["grants"])

    async def expire_access_token(self, account_id: UUID) -> None:
        """Make the access token expire now."""
        await self.execute("UPDATE grants SET expires_at = now() WHERE account_id = :id", id=account_id)


@contextlib.asynccontextmanager
async def open_harness(settings: Settings, zoom: httpx.AsyncClient) -> AsyncIterator[AccountsHarness]:
    """Open a harness with these settings."""
    clock = FakeClock()
    async with open_resources(settings, JOBS, clock) as resources:
        yield AccountsHarness(resources, clock, zoom)


def query_of(url: str) -> dict[str, str]:
    """Return the query of a URL, with the first value of each name."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
