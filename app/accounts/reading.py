"""What Zoom says about an account: who gave the grant, who else can host, and their settings."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from app.clients.zoom import AccountClient, MissingScopes, NotAllowed, User, UserSettings, allows

# Missing permission is an answer, not a failure: reading again says the same until an admin connects anew.
_NOT_PERMITTED = (MissingScopes, NotAllowed)


@dataclass(frozen=True)
class Reading:
    """`me` gave the grant. `users` are all that can be offered; `complete` says that nobody else is left at Zoom, so
    that a failed or empty answer is never taken for people who are gone. `settings` by Zoom user id, where known."""

    me: User
    users: tuple[User, ...]
    complete: bool
    settings: Mapping[str, UserSettings] = field(default_factory=dict)


async def read(client: AccountClient, granted: Collection[str], *, everyone: bool) -> Reading:
    """Read the grant's user, all pages of users if it permits that, and the settings of that user, or with `everyone`
    of every licensed one too. Raises ZoomError; what the grant does not permit is left out instead."""
    me = await client.get_me()
    users, complete = await _users(client, granted, me)
    wanted = ["me", *(user.id for user in users if everyone and user.licensed and user.id != me.id)]
    settings: dict[str, UserSettings] = {}
    for user_id in wanted:
        try:
            settings[me.id if user_id == "me" else user_id] = await client.get_user_settings(user_id)
        except _NOT_PERMITTED:
            break
    return Reading(me, users, complete, settings)


async def _users(client: AccountClient, granted: Collection[str], me: User) -> tuple[tuple[User, ...], bool]:
    if not allows(granted, "user:read:list_users:admin"):
        return (me,), True
    try:
        users = tuple([user async for user in client.list_users()])
    except _NOT_PERMITTED:
        return (me,), False
    return (users, True) if users else ((me,), False)
