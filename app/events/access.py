"""Who may see an event, manage it (coach or admin) and administer it (admin): the one place for these rules.

A caller who may not see an event gets the same 404 as for an id that does not exist. Whether a member may join is
another question (`joining.decide`), and so is who may read a live event (`live.permissions`).
"""

from uuid import UUID

from sqlalchemy import ColumnElement

from app.core.database import Tx
from app.core.errors import Problem, not_found
from app.core.identity import Caller
from app.events import service
from app.events.models import Event


def can_see(event: Event, caller: Caller) -> bool:
    """Return whether the event exists for the caller: it is of one of their communities, and not deleted."""
    return event.deleted_at is None and (caller.is_platform or caller.is_member_of(event.community_id))


def can_administer(event: Event, caller: Caller) -> bool:
    """Return whether the caller is an owner or admin of the event's community, or the platform."""
    return caller.is_platform or caller.is_admin_of(event.community_id)


def can_manage(event: Event, caller: Caller) -> bool:
    """Return whether the caller may administer the event or is its coach."""
    return can_administer(event, caller) or event.coach_id == caller.member_id


def visible_to(caller: Caller) -> list[ColumnElement[bool]]:
    """Return `can_see` as conditions of a query."""
    conditions: list[ColumnElement[bool]] = [Event.deleted_at.is_(None)]
    if not caller.is_platform:
        conditions.append(Event.community_id.in_([membership.community_id for membership in caller.memberships]))
    return conditions


async def get_visible(tx: Tx, event_id: UUID, caller: Caller, what: str = "event", *, lock: bool = False) -> Event:
    """Return an event that the caller may see, locked if asked for.

    Raises `not-found` with the name `what`.
    """
    event = await service.get(tx, event_id)
    if event is not None and can_see(event, caller) and lock:
        # Only now, so that nobody can lock an event of another community.
        event = await service.lock(tx, event_id)
    if event is None or not can_see(event, caller):
        raise not_found(what)
    return event


async def get_managed(tx: Tx, event_id: UUID, caller: Caller) -> Event:
    """Return an event that the caller may manage. Raises `not-found` or `forbidden`."""
    event = await get_visible(tx, event_id, caller)
    require_manager(event, caller)
    return event


async def get_administered(tx: Tx, event_id: UUID, caller: Caller, *, lock: bool = False) -> Event:
    """Return an event that the caller may administer, locked for an edit if asked for.

    Raises `not-found` or `forbidden`.
    """
    event = await get_visible(tx, event_id, caller, lock=lock)
    if not can_administer(event, caller):
        raise Problem("forbidden", "Only owners and admins of the community may do this.")
    return event


def require_manager(event: Event, caller: Caller) -> None:
    """Raise `forbidden` unless the caller may manage the event."""
    if not can_manage(event, caller):
        raise Problem("forbidden", "Only admins of the community and the event's coach may do this.")
