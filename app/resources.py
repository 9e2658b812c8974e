"""The resources of a process: settings, clock, database, pub/sub, encryption, clients. Opened and closed once."""

import contextlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator

from app.clients.hooks import HookSender
from app.clients.instrumentation import InstrumentedHttpClient
from app.clients.jwks import Jwks
from app.clients.mail import Mailer, parse_smtp_url
from app.clients.tls import ssl_context
from app.clients.zoom import LABELS, Label, OAuth, Zoom
from app.core import metrics
from app.core import settings as environment
from app.core.asyncpg_pool import DATABASE_ERRORS
from app.core.clock import Clock
from app.core.crypto import Encryption
from app.core.database import Database
from app.core.database_timeouts import COMMAND_TIMEOUTS, Timeouts
from app.core.job_context import ensure_may_call
from app.core.job_runner import JobTable
from app.core.pubsub import PubSub
from app.core.settings import Settings, SettingsError


class CheckedSettings(Settings):
    """Settings that are also checked against what the clients accept."""

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: SecretStr) -> SecretStr:
        parse_smtp_url(value.get_secret_value())
        return value


def read_settings() -> Settings:
    """Return the settings of this process; raises `SettingsError` with everything missing or malformed."""
    return environment.read_settings(CheckedSettings)


@dataclass(frozen=True)
class Resources:
    """Settings, clock, database, pub/sub, encryption, and the clients of every vendor."""

    settings: Settings
    clock: Clock
    pubsub: PubSub
    db: Database
    encryption: Encryption
    jwks: Jwks
    mail: Mailer
    hooks: HookSender
    zoom: Zoom
    jobs: JobTable[Any]

    @property
    def oauth(self) -> OAuth:
        """Zoom's OAuth endpoints for this installation's app."""
        return self.zoom.oauth

    @cached_property
    def allowed_origins(self) -> frozenset[str]:
        """Origins of the pages that may call with the cookie."""
        pages = (*self.settings.cors_origins, self.settings.public_url, self.settings.spa_url)
        return frozenset(f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, pages))


@contextlib.asynccontextmanager
async def open_resources(
    settings: Settings,
    jobs: JobTable[Any],
    clock: Clock | None = None,
    hooks: HookSender | None = None,
    timeouts: Timeouts = COMMAND_TIMEOUTS,
) -> AsyncIterator[Resources]:
    """Open all resources in the order of their dependencies; close them in reverse.

    Tests pass `clock`, which they can move, and `hooks`, which reach receivers on their own machine. Without a `clock`,
    a new one follows the database's. `timeouts` say how long the database is waited for. Every client calls
    `ensure_may_call` right before it changes something at a vendor. Raises `SettingsError` if the database cannot be
    reached.
    """
    follow_database = clock is None
    clock = clock or Clock()
    url = settings.database_url.get_secret_value()
    pubsub = PubSub(url)
    db = Database(url, clock, pubsub, jobs.requests_for, timeouts)
    async with contextlib.AsyncExitStack() as stack:
        resources = await stack.enter_async_context(assemble_resources(settings, jobs, clock, pubsub, db, hooks))
        await _connect(pubsub.open())
        stack.push_async_callback(pubsub.close)
        await _connect(db.open())
        stack.push_async_callback(db.close)
        if follow_database:
            await _connect(stack.enter_async_context(clock.follow_database(db.pool)))
        yield resources


@contextlib.asynccontextmanager
async def assemble_resources(
    settings: Settings,
    jobs: JobTable[Any],
    clock: Clock,
    pubsub: PubSub,
    db: Database,
    hooks: HookSender | None = None,
) -> AsyncIterator[Resources]:
    """Add everything else to the connections to the database, which the caller opens and closes."""
    encryption = Encryption.parse(settings.encryption_keys.get_secret_value())
    mail = Mailer(settings.smtp_url.get_secret_value(), _count_vendor_call, ensure_may_call)
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            InstrumentedHttpClient(_count_vendor_call, ensure_may_call, follow_redirects=False, verify=ssl_context())
        )
        stack.push_async_callback(mail.close)
        yield Resources(
            settings=settings,
            clock=clock,
            pubsub=pubsub,
            db=db,
            encryption=encryption,
            jwks=Jwks(http, settings.auth_jwks_url, on_fetch=metrics.keys_refreshed),
            mail=mail,
            hooks=_hooks(settings, hooks),
            zoom=_zoom(settings, http, clock),
            jobs=jobs,
        )


def _hooks(settings: Settings, override: HookSender | None) -> HookSender:
    hooks = override or HookSender(allowed_origins=settings.hook_origins, on_call=_count_vendor_call)
    hooks.before_call = ensure_may_call
    return hooks


def _zoom(settings: Settings, http: InstrumentedHttpClient, clock: Clock) -> Zoom:
    secret = settings.zoom_client_secret.get_secret_value()
    oauth = OAuth(http, settings.zoom_oauth_url, settings.zoom_client_id, secret, clock.now)
    return Zoom(
        http,
        oauth,
        api_url=settings.zoom_api_url,
        now=clock.now,
        origins=settings.zoom_origins,
        domains=settings.zoom_domains,
    )


def _count_vendor_call(vendor: str, operation: str, outcome: str, seconds: float) -> None:
    """Count a call to a vendor, and a refusal for Zoom's rate limit."""
    metrics.vendor_called(vendor, operation, outcome, seconds)
    if (vendor, outcome) == ("zoom", "429"):
        metrics.rate_limited(LABELS.get(operation, Label.LIGHT))


async def _connect(opening: Awaitable[None]) -> None:
    try:
        await opening
    except DATABASE_ERRORS as error:
        raise unreachable_database(error) from None


def unreachable_database(error: Exception) -> SettingsError:
    """Return the error for an operator whose database cannot be reached."""
    return SettingsError(f"DATABASE_URL names a database that cannot be opened: {type(error).__name__}")
