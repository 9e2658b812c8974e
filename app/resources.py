"""What a process holds: opened once, closed once, passed to whoever needs it."""

import contextlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator

from app.clients.hooks import Hooks
from app.clients.jwks import Jwks
from app.clients.mail import Mail, parse_smtp_url
from app.clients.told import Http
from app.clients.trust import trust
from app.clients.zoom import LABELS, Label, OAuth, Zoom
from app.core import metrics
from app.core import settings as environment
from app.core.bell import Bell
from app.core.clock import Clock
from app.core.crypto import Seal
from app.core.db import Database
from app.core.hot import DATABASE_FAULTS
from app.core.limits import COMMAND, Limits
from app.core.run import may_call
from app.core.settings import BadSettings, Settings
from app.core.work import Reactions


class Checked(Settings):
    """Settings, held also against what the clients can use."""

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: SecretStr) -> SecretStr:
        parse_smtp_url(value.get_secret_value())
        return value


def read_settings() -> Settings:
    """The settings of this process; raises `BadSettings` with everything that is missing or malformed."""
    return environment.read_settings(Checked)


@dataclass(frozen=True)
class Resources:
    """Settings, clock, database, bell, seal, and the clients of every vendor."""

    settings: Settings
    clock: Clock
    bell: Bell
    db: Database
    seal: Seal
    jwks: Jwks
    mail: Mail
    hooks: Hooks
    zoom: Zoom
    reactions: Reactions[Any]

    @property
    def oauth(self) -> OAuth:
        """Zoom's OAuth endpoints for this installation's app."""
        return self.zoom.oauth

    @cached_property
    def allowed_origins(self) -> frozenset[str]:
        """Origins of pages that may call with the cookie."""
        pages = (*self.settings.cors_origins, self.settings.public_url, self.settings.spa_url)
        return frozenset(f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, pages))


@contextlib.asynccontextmanager
async def open_resources(
    settings: Settings,
    reactions: Reactions[Any],
    clock: Clock | None = None,
    hooks: Hooks | None = None,
    limits: Limits = COMMAND,
) -> AsyncIterator[Resources]:
    """Open everything, in the order of need; close it in reverse. Raises `BadSettings` where there is no database.

    `clock` and `hooks` are given by tests: a time they can move, and receivers on their own machine. Without one, the
    clock follows the database's. `limits` say how long the database is waited for. Every client asks `may_call` right
    before it changes something at a vendor.
    """
    follows = clock is None
    clock = clock or Clock()
    seal = Seal.parse(settings.encryption_keys.get_secret_value())
    mail = Mail(settings.smtp_url.get_secret_value(), _called, may_call)
    url = settings.database_url.get_secret_value()
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(Http(_called, may_call, follow_redirects=False, verify=trust()))
        stack.push_async_callback(mail.close)
        bell = await _bell(stack, url)
        db = Database(url, clock, bell, reactions.wants, limits)
        await _opened(db.open())
        stack.push_async_callback(db.close)
        if follows:
            await _opened(stack.enter_async_context(clock.following(db.hot)))
        yield Resources(
            settings=settings,
            clock=clock,
            bell=bell,
            db=db,
            seal=seal,
            jwks=Jwks(http, settings.auth_jwks_url, tell=metrics.keys_refreshed),
            mail=mail,
            hooks=_hooks(settings, hooks),
            zoom=_zoom(settings, http, clock),
            reactions=reactions,
        )


async def _bell(stack: contextlib.AsyncExitStack, url: str) -> Bell:
    bell = Bell(url)
    await _opened(bell.open())
    stack.push_async_callback(bell.close)
    return bell


def _hooks(settings: Settings, given: Hooks | None) -> Hooks:
    hooks = given or Hooks(permitted=settings.hook_origins, tell=_called)
    hooks.ask = may_call
    return hooks


def _zoom(settings: Settings, http: Http, clock: Clock) -> Zoom:
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


def _called(vendor: str, operation: str, outcome: str, seconds: float) -> None:
    """Count a call to a vendor."""
    metrics.vendor_called(vendor, operation, outcome, seconds)
    if (vendor, outcome) == ("zoom", "429"):
        metrics.limited(LABELS.get(operation, Label.LIGHT))


async def _opened(opening: Awaitable[None]) -> None:
    try:
        await opening
    except DATABASE_FAULTS as error:
        raise unopened(error) from None


def unopened(error: Exception) -> BadSettings:
    """What an operator is told of a database that could not be connected to."""
    return BadSettings(f"DATABASE_URL names a database that cannot be opened: {type(error).__name__}")
