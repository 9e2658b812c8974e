"""Routes for events (list, create, change, cancel, delete, sync) and spaces. Members read, admins write."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from app import web
from app.core.database import Tx
from app.core.errors import PROBLEMS, TOO_MANY_RESPONSE, Problem, field_error, not_found
from app.core.identity import Caller
from app.events import access, event_times, service, spaces
from app.events.event_input import EventChanges, NewEvent
from app.events.models import Event
from app.meetings import service as meetings
from app.registrants import retries
from app.registrations import service as registrations
from app.registrations.models import ORGANISER
from app.resources import Resources
from app.views import presenter, query, schemas
from app.views.prefer_wait import preferred_wait, until_synced

router = APIRouter(tags=["Events"])

EventId = Annotated[UUID, Path(description="An event of one of your communities")]
SpaceId = Annotated[UUID, Path(description="A space of the community")]
IfMatch = Annotated[str | None, Header(description="Change only what still has this `ETag`; else 412 `stale`")]
Prefer = Annotated[
    str | None,
    Header(
        description="`wait=3` answers once the change has reached Zoom, after 3 seconds at the latest",
        examples=["wait=3"],
    ),
]
AN_EVENT: dict[int | str, dict[str, Any]] = {
    200: {"headers": {"ETag": {"description": "The event's version, for `If-Match`", "schema": {"type": "string"}}}}
}


class SyncRequest(web.Schema):
    """What to do about a meeting if it is unknown whether Zoom created it."""

    on_unknown: Literal["create", "wait"] = Field(
        default="wait",
        description="`create` makes another one now, `wait` gives Zoom its time to tell",
        examples=["wait"],
    )


def event_filters(
    space: Annotated[UUID | None, Query(description="Only events of this space")] = None,
    since: Annotated[
        event_times.Instant | None, Query(alias="from", description="Only events that end after this")
    ] = None,
    until: Annotated[
        event_times.Instant | None, Query(alias="to", description="Only events that start before this")
    ] = None,
    status: Annotated[list[schemas.Status] | None, Query(description="Only events in one of these states")] = None,
) -> query.Filters:
    """Return the filters that the query string asks for."""
    return query.Filters(space, since, until, tuple(status or ()))


Filters = Annotated[query.Filters, Depends(event_filters)]


@router.get("/api/communities/{community}/events", summary="The events of a community, by their start")
async def list_events(
    membership: web.Member,
    tx: web.Tx,
    resources: web.ResourcesDep,
    filters: Filters,
    limit: web.Limit = 50,
    cursor: web.Cursor = None,
) -> web.Page[schemas.Event]:
    """All events, past ones too. Deleted events are in no list."""
    after = web.decode_cursor(cursor)
    await _check_space(tx, filters, [membership.community_id])
    rows = await query.list_in_community(tx, membership.caller, membership.community_id, filters, limit + 1, after)
    return _page(rows, limit, membership.caller, tx, resources)


@router.get("/api/me/events", summary="My events, by their start")
async def list_my_events(
    caller: web.Caller,
    tx: web.Tx,
    resources: web.ResourcesDep,
    filters: Filters,
    role: Annotated[
        Literal["attending", "hosting"], Query(description="As somebody who comes, or as their host or coach")
    ] = "attending",
    limit: web.Limit = 50,
    cursor: web.Cursor = None,
) -> web.Page[schemas.Event]:
    """`attending` lists events the caller answered with going or maybe.

    `hosting` lists events whose host, alternative host or coach the caller is. A host is recognised by the member it
    was assigned to, or by a verified e-mail address.
    """
    await _check_space(tx, filters, None if caller.is_platform else [each.community_id for each in caller.memberships])
    query_events = query.attended_by if role == "attending" else query.hosted_by
    return _page(
        await query_events(tx, caller, filters, limit + 1, web.decode_cursor(cursor)), limit, caller, tx, resources
    )


@router.post(
    "/api/communities/{community}/events",
    status_code=201,
    response_model=schemas.Event,
    responses={429: {"description": TOO_MANY_RESPONSE}},
    summary="Schedule an event",
)
async def create_event(
    community: web.Community,
    new_event: NewEvent,
    request: Request,
    caller: web.Caller,
    resources: web.ResourcesDep,
    prefer: Prefer = None,
    idempotency_key: web.IdempotencyKey = None,
) -> Response:
    """Create an event. On Zoom, its host is reserved for that time at once, and the meeting follows."""
    async with resources.db.transaction() as tx:
        membership = await web.require_admin(await web.require_member(community, caller, tx))

        async def create() -> schemas.Event:
            event = await service.create(tx, membership.community_id, caller.member_id, new_event)
            return (await _load(tx, resources, caller, event.id))[0]

        response = await (await web.idempotent_create(request, caller, tx, idempotency_key))(create)
    event_id = UUID(orjson.loads(response.body)["id"])
    headers = {"Location": f"/api/events/{event_id}", "ETag": web.etag(1)}
    if preferred_wait(prefer) is not None:
        event, sync_headers = await _load_after_sync(resources, caller, event_id, prefer)
        response = JSONResponse(event.model_dump(mode="json"), 201)
        headers = headers | sync_headers
    response.headers.update(headers)
    return response


@router.get("/api/events/{event_id}", responses=AN_EVENT, summary="One event")
async def get_event(
    event_id: EventId, caller: web.Caller, tx: web.Tx, resources: web.ResourcesDep, response: Response
) -> schemas.Event:
    """The event as the caller may see it, with the caller's own answer and what a join would answer now."""
    event, response.headers["ETag"] = await _load(tx, resources, caller, event_id)
    return event


@router.patch("/api/events/{event_id}", responses=AN_EVENT, summary="Change an event")
async def change_event(
    event_id: EventId,
    changes: EventChanges,
    caller: web.Caller,
    resources: web.ResourcesDep,
    response: Response,
    if_match: IfMatch = None,
    prefer: Prefer = None,
) -> schemas.Event:
    """Change only the fields that are sent. A change that changes nothing has no consequences."""
    async with resources.db.transaction() as tx:
        await service.change(tx, await _lock_for_edit(tx, caller, event_id, if_match), changes)
    event, headers = await _load_after_sync(resources, caller, event_id, prefer)
    response.headers.update(headers)
    return event


@router.post("/api/events/{event_id}/cancel", responses=AN_EVENT, summary="Cancel an event")
async def cancel_event(
    event_id: EventId,
    caller: web.Caller,
    resources: web.ResourcesDep,
    response: Response,
    if_match: IfMatch = None,
    prefer: Prefer = None,
) -> schemas.Event:
    """Cancel the event in any state: joining ends, the Zoom meeting is deleted, everyone is notified.

    Repeating the request does nothing.
    """
    async with resources.db.transaction() as tx:
        await service.cancel(tx, await _lock_for_edit(tx, caller, event_id, if_match))
    event, headers = await _load_after_sync(resources, caller, event_id, prefer)
    response.headers.update(headers)
    return event


@router.delete("/api/events/{event_id}", status_code=204, summary="Cancel an event and hide it")
async def delete_event(event_id: EventId, caller: web.Caller, tx: web.Tx, if_match: IfMatch = None) -> None:
    """Cancel the event, and hide it from everybody."""
    await service.delete(tx, await _lock_for_edit(tx, caller, event_id, if_match))


@router.post("/api/events/{event_id}/zoom/sync", status_code=202, summary="Bring the event and Zoom together now")
async def sync_event(
    event_id: EventId,
    caller: web.Caller,
    resources: web.ResourcesDep,
    response: Response,
    sync_request: SyncRequest = SyncRequest(),  # noqa: B008 - frozen, so one for all calls does no harm
    prefer: Prefer = None,
) -> schemas.Event:
    """Retry at once everything that waits or was given up. An event that is not on Zoom is `not-on-zoom`."""
    async with resources.db.transaction() as tx:
        event_row = await _lock_for_edit(tx, caller, event_id, None)
        if not event_row.on_zoom:
            raise Problem("not-on-zoom", "This event has no meeting on Zoom, so there is nothing to bring together.")
        await meetings.request_sync(tx, event_row, sync_request.on_unknown)
        await retries.request_retry(tx, event_row, await registrations.host_account_id(tx, event_row), ORGANISER)
    event, headers = await _load_after_sync(resources, caller, event_id, prefer)
    response.headers.update(headers)
    return event


@router.get("/api/communities/{community}/spaces", summary="The spaces of a community")
async def list_spaces(
    membership: web.Member, tx: web.Tx, limit: web.Limit = 50, cursor: web.Cursor = None
) -> web.Page[schemas.Space]:
    """All spaces, in the order of their creation."""
    found = await spaces.list_in_community(tx, membership.community_id, limit + 1, web.decode_cursor(cursor))
    more = web.encode_cursor(found[limit - 1].created_at, str(found[limit - 1].id)) if len(found) > limit else None
    return web.Page(items=[presenter.space(space) for space in found[:limit]], next_cursor=more)


@router.post(
    "/api/communities/{community}/spaces",
    status_code=201,
    response_model=schemas.Space,
    responses={409: {"description": PROBLEMS["too-many-spaces"][1]}},
    summary="Make a space",
)
async def create_space(
    membership: web.Admin, new_space: spaces.NewSpace, tx: web.Tx, once: web.Idempotency
) -> Response:
    """A part of the community that holds events, with the meeting settings they share."""

    async def create() -> schemas.Space:
        return presenter.space(await spaces.create(tx, membership.community_id, new_space))

    return await once(create)


@router.patch("/api/communities/{community}/spaces/{space_id}", summary="Change a space")
async def change_space(
    membership: web.Admin, space_id: SpaceId, changes: spaces.SpaceChanges, tx: web.Tx
) -> schemas.Space:
    """Change only the fields that are sent. New meeting settings apply to every upcoming Zoom meeting."""
    return presenter.space(await spaces.change(tx, membership.community_id, space_id, changes))


async def _check_space(tx: Tx, filters: query.Filters, communities: Sequence[str] | None) -> None:
    """Raise a 422 if none of these communities has the space; with None, if no community has it."""
    if filters.space is not None and not await spaces.exists_in(tx, filters.space, communities):
        raise field_error("space", "is not a space of this community" if communities else "is not a space")


async def _lock_for_edit(tx: Tx, caller: Caller, event_id: UUID, if_match: str | None) -> Event:
    """Return the event, locked, if the caller may change it and knows its version; else raise a problem."""
    event = await access.get_administered(tx, event_id, caller, lock=True)
    web.check_if_match(if_match, event.version)
    return event


async def _load_after_sync(
    resources: Resources, caller: Caller, event_id: UUID, prefer: str | None
) -> tuple[schemas.Event, dict[str, str]]:
    """Return the event after a committed change, with its headers.

    If the caller prefers to wait, this waits until the change has reached Zoom.
    """
    seconds = preferred_wait(prefer)
    headers = {}
    if seconds is not None:
        await until_synced(resources, event_id, seconds)
        headers["Preference-Applied"] = f"wait={seconds}"
    async with resources.db.transaction() as tx:
        event, headers["ETag"] = await _load(tx, resources, caller, event_id)
    return event, headers


async def _load(tx: Tx, resources: Resources, caller: Caller, event_id: UUID) -> tuple[schemas.Event, str]:
    """Return the event as this caller may see it, and its entity tag."""
    row = await query.get_event(tx, caller, event_id)
    if row is None:
        raise not_found("event")
    return _to_schema(row, caller, tx, resources), web.etag(row.event.version)


def _to_schema(row: query.Row, caller: Caller, tx: Tx, resources: Resources) -> schemas.Event:
    for_admin = access.can_administer(row.event, caller)
    opens_before = timedelta(minutes=resources.settings.join_opens_minutes)
    return presenter.event(row, caller, tx.now, opens_before, for_admin=for_admin)


def _page(
    rows: Sequence[query.Row], limit: int, caller: Caller, tx: Tx, resources: Resources
) -> web.Page[schemas.Event]:
    last = rows[limit - 1].event if len(rows) > limit else None
    more = web.encode_cursor(last.starts_at, str(last.id)) if last else None
    return web.Page(items=[_to_schema(row, caller, tx, resources) for row in rows[:limit]], next_cursor=more)
