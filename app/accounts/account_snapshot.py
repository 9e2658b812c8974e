"""Reads an account from Zoom: the user who granted access, other users who can host, and settings."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.clients.zoom import (
    AccountClient,
    MissingScopes,
    NeedsReauth,
    NotAllowed,
    RateLimited,
    User,
    UserSettings,
    ZoomError,
    allows,
)
from app.core import logs

# A missing permission is a result, not a failure: reading again gives the same until an admin reconnects.
_NOT_PERMITTED_ERRORS = (MissingScopes, NotAllowed)
# How long the admin who connects waits for Zoom's rate limit to end.
MAX_RATE_LIMIT_WAIT = timedelta(seconds=5)
log = logs.get("accounts")


@dataclass(frozen=True)
class AccountSnapshot:
    """An account as Zoom reports it.

    `me` gave the grant. `users` are all who can be offered as hosts. `complete` says that Zoom has no other users, so
    that a failed or empty response never makes anybody disappear. `settings` are by Zoom user id, as far as they could
    be read.
    """

    me: User
    users: tuple[User, ...]
    complete: bool
    settings: Mapping[str, UserSettings] = field(default_factory=dict)


async def fetch(client: AccountClient, granted: Collection[str], *, everyone: bool) -> AccountSnapshot:
    """Read the grant's user, all pages of users if the grant permits it, and settings.

    The settings are those of the grant's user, and with `everyone` those of every licensed user too. What the grant
    does not permit is left out. Raises ZoomError.
    """
    return await _fetch_details(client, granted, await client.get_me(), everyone=everyone)


async def fetch_minimal(
    client: AccountClient, granted: Collection[str], now: Callable[[], datetime]
) -> AccountSnapshot:
    """Read what an admin who connects has to wait for; the worker reads the rest in a moment.

    Only the profile is required, because it says whose grant this is. So the function waits for a short rate limit
    there. Raises ZoomError.
    """
    me = await _fetch_profile(client, now)
    try:
        return await _fetch_details(client, granted, me, everyone=False)
    except NeedsReauth:
        raise
    except ZoomError as error:
        log.info("hosts will be read later", reason=str(error))
        return AccountSnapshot(me, (me,), complete=False)


async def _fetch_profile(client: AccountClient, now: Callable[[], datetime]) -> User:
    deadline = now() + MAX_RATE_LIMIT_WAIT
    while True:
        try:
            return await client.get_me()
        except RateLimited as error:
            if error.retry_at is None or error.retry_at > deadline:
                raise
            await asyncio.sleep((error.retry_at - now()).total_seconds())


async def _fetch_details(
    client: AccountClient, granted: Collection[str], me: User, *, everyone: bool
) -> AccountSnapshot:
    users, complete = await _fetch_users(client, granted, me)
    user_ids = ["me", *(user.id for user in users if everyone and user.licensed and user.id != me.id)]
    settings: dict[str, UserSettings] = {}
    for user_id in user_ids:
        try:
            settings[me.id if user_id == "me" else user_id] = await client.get_user_settings(user_id)
        except _NOT_PERMITTED_ERRORS:
            break
    return AccountSnapshot(me, users, complete, settings)


async def _fetch_users(client: AccountClient, granted: Collection[str], me: User) -> tuple[tuple[User, ...], bool]:
    if not allows(granted, "user:read:list_users:admin"):
        return (me,), True
    try:
        users = tuple([user async for user in client.list_users()])
    except _NOT_PERMITTED_ERRORS:
        return (me,), False
    return (users, True) if users else ((me,), False)
