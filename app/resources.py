"""What a process holds: opened once, closed once, passed to whoever needs it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.clients.hooks import Hooks
from app.clients.jwks import Jwks
from app.clients.mail import Mail
from app.clients.trust import trust
from app.clients.zoom import OAuth, Zoom
from app.core.bell import Bell
from app.core.clock import Clock
from app.core.crypto import Seal
from app.core.db import Database
from app.core.settings import BadSettings, Settings
from app.core.work import Reactions


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
    settings: Settings, reactions: Reactions[Any], clock: Clock | None = None, hooks: Hooks | None = None
) -> AsyncIterator[Resources]:
    """Open everything, in the order of need; close it in reverse. Raises `BadSettings` for what cannot be parsed.

    `clock` and `hooks` are given by tests: a time they can move, and receivers on their own machine.
    """
    clock = clock or Clock()
    seal = _parsed("ENCRYPTION_KEYS", Seal.parse, settings.encryption_keys.get_secret_value())
    mail = _parsed("SMTP_URL", Mail, settings.smtp_url.get_secret_value())
    url = settings.database_url.get_secret_value()
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(follow_redirects=False, verify=trust()))
        stack.push_async_callback(mail.close)
        bell = Bell(url)
        await bell.open()
        stack.push_async_callback(bell.close)
        db = Database(url, clock, bell, reactions.wants)
        await db.open()
        stack.push_async_callback(db.close)
        secret = settings.zoom_client_secret.get_secret_value()
        oauth = OAuth(http, settings.zoom_oauth_url, settings.zoom_client_id, secret, clock.now)
        yield Resources(
            settings=settings,
            clock=clock,
            bell=bell,
            db=db,
            seal=seal,
            jwks=Jwks(http, settings.auth_jwks_url),
            mail=mail,
            hooks=hooks or Hooks(permitted=settings.hook_origins),
            zoom=_zoom(settings, http, oauth, clock),
            reactions=reactions,
        )


def _zoom(settings: Settings, http: httpx.AsyncClient, oauth: OAuth, clock: Clock) -> Zoom:
    return Zoom(
        http,
        oauth,
        api_url=settings.zoom_api_url,
        now=clock.now,
        origins=settings.zoom_origins,
        domains=settings.zoom_domains,
    )


def _parsed(name: str, parse: Any, text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise BadSettings(f"{name} {error}") from None
