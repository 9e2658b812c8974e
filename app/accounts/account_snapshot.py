"""What Zoom says about an account: who gave the grant, who else can host, and their settings."""

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

# Missing permission is an answer, not a failure: reading again says the same until an admin connects anew.
_NOT_PERMITTED_ERRORS = (MissingScopes, NotAllowed)
# How long somebody who connects waits while Zoom says that calls came too close together.
MAX_RATE_LIMIT_WAIT = timedelta(seconds=5)
log = logs.get("accounts")


@dataclass(frozen=True)
class AccountSnapshot:
    """`me` gave the grant. `users` are all that can be offered; `complete` says that nobody else is left at Zoom, so
    that a failed or empty answer is never taken for people who are gone. `settings` by Zoom user id, where known."""

    me: User
    users: tuple[User, ...]
    complete: bool
    settings: Mapping[str, UserSettings] = field(default_factory=dict)


async def fetch(client: AccountClient, granted: Collection[str], *, everyone: bool) -> AccountSnapshot:
    """Read the grant's user, all pages of users if it permits that, and the settings of that user, or with `everyone`
    of every licensed one too. Raises ZoomError; what the grant does not permit is left out instead."""
    return await _fetch_details(client, granted, await client.get_me(), everyone=everyone)


async def fetch_minimal(
    client: AccountClient, granted: Collection[str], now: Callable[[], datetime]
) -> AccountSnapshot:
    """What can be read while somebody waits. Only the profile must be: without it nobody knows whose grant this is,
    so a moment's rate limit is waited for. What else does not come is read by the worker in a moment. Raises ZoomError.
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
