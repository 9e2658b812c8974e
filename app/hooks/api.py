"""Routes for a community's hooks: create, change, delete, test, rotate the secret, attempts, redeliver."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Response
from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from app import web
from app.accounts.connect_api import require_admin_without_tx
from app.clients.hooks import MAX_URL_LENGTH, HookError
from app.core import logs
from app.core.errors import PROBLEMS, TOO_MANY_RESPONSE, field_error
from app.hooks import secrets, service
from app.hooks.models import HookEndpoint
from app.hooks.payloads import Kind
from app.resources import Resources

router = APIRouter(tags=["Hooks"])
BASE = "/api/communities/{community}/hooks"
HookId = Annotated[UUID, Path(description="A hook", examples=["7c3f2f7e-0c5b-4a53-9a5e-2d8f1f6a7b10"])]
# For routes that resolve a host name: this takes a while, so they must not keep a transaction open meanwhile.
SlowAdmin = Annotated[web.CommunityMembership, Depends(require_admin_without_tx)]
LIMITED_RESPONSES: dict[int | str, dict[str, Any]] = {429: {"description": TOO_MANY_RESPONSE}}
DISABLED_RESPONSES: dict[int | str, dict[str, Any]] = LIMITED_RESPONSES | {
    409: {"description": PROBLEMS["hook-disabled"][1]}
}
FULL_RESPONSES: dict[int | str, dict[str, Any]] = LIMITED_RESPONSES | {
    409: {"description": PROBLEMS["too-many-hooks"][1]}
}
NO_STORE = {"Cache-Control": "no-store"}
SECRET = "Messages are signed with it. It is shown this once only"
EXAMPLE_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwZ0nVb2l6WcQ="
MESSAGE_ID = "8a1f5f0e-8a4b-4b55-9d64-0e6f3f2d7c21"
log = logs.get("hooks")


def _require_distinct(kinds: list[Kind]) -> list[Kind]:
    if len(set(kinds)) < len(kinds):
        raise ValueError("must be different from each other")
    return kinds


Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL_LENGTH,
        pattern=r"^[\x21-\x7e]*$",
        description="Where messages are sent: https, port 443, a host on the public internet",
        examples=["https://hooks.example.com/kindryn"],
    ),
]
Kinds = Annotated[
    list[Kind],
    Field(
        min_length=1,
        max_length=20,
        description="The kinds of messages it receives",
        examples=[["event.live", "event.ended"]],
    ),
    AfterValidator(_require_distinct),
]


class NewHook(web.Schema):
    """A hook to create."""

    url: Url
    kinds: Kinds


class HookChanges(TypedDict, total=False):
    """The changes of a hook; fields that are left out stay as they are."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # how pydantic configures a TypedDict

    url: Url
    kinds: Kinds
    enabled: Annotated[bool, Field(strict=True, description="False: it receives no messages", examples=[True])]


class Hook(web.Schema):
    """An endpoint at which a community wants to be notified of what happens."""

    id: UUID = Field(examples=["7c3f2f7e-0c5b-4a53-9a5e-2d8f1f6a7b10"])
    url: str = Field(examples=["https://hooks.example.com/kindryn"])
    kinds: list[Kind] = Field(examples=[["event.live", "event.ended"]])
    enabled: bool = Field(examples=[True])
    disabled_reason: str | None = Field(
        description="Why it is off, where that was nobody's wish", examples=["The endpoint answered 410 Gone."]
    )
    former_secret_until: datetime | None = Field(
        description="Until when the secret before the present one signs as well", examples=["2027-03-02T09:30:00Z"]
    )
    created_at: datetime = Field(examples=["2027-03-01T09:30:00Z"])


class NewHookMade(Hook):
    """A new hook with its secret."""

    secret: str = Field(description=SECRET, examples=[EXAMPLE_SECRET])


class Rotated(web.Schema):
    """A new secret."""

    secret: str = Field(description=SECRET, examples=[EXAMPLE_SECRET])
    former_secret_until: datetime = Field(
        description="Until then the secret before signs as well", examples=["2027-03-02T09:30:00Z"]
    )


class HookAttempt(web.Schema):
    """One attempt to send a message."""

    at: datetime = Field(examples=["2027-03-01T19:00:02Z"])
    status: int | None = Field(description="What the endpoint answered, if it did", examples=[503])
    problem: str | None = Field(description="Why it did not answer", examples=["it cannot be connected"])


class HookMessage(web.Schema):
    """A message and its attempts."""

    message_id: UUID = Field(description="Its `webhook-id`, in every attempt", examples=[MESSAGE_ID])
    kind: str = Field(examples=["event.live"])
    state: Literal["waiting", "delivered", "given_up"] = Field(examples=["waiting"])
    created_at: datetime = Field(examples=["2027-03-01T19:00:02Z"])
    next_at: datetime | None = Field(description="When it is sent next", examples=["2027-03-01T19:05:07Z"])
    attempts: list[HookAttempt] = Field(description="The first one first")


class MessageChoice(web.Schema):
    """The message to send again."""

    message_id: UUID = Field(description="One of `attempts`", examples=[MESSAGE_ID])


class MessageQueued(web.Schema):
    """A message that is about to be sent."""

    message_id: UUID = Field(description="Its `webhook-id`", examples=[MESSAGE_ID])


def _to_schema(endpoint: HookEndpoint, now: datetime) -> Hook:
    until = secrets.former_valid_until(endpoint)
    return Hook.model_validate(
        {name: getattr(endpoint, name) for name in ("id", "url", "kinds", "enabled", "disabled_reason", "created_at")}
        | {"former_secret_until": until if until and now < until else None}
    )


async def _check_url(resources: Resources, url: str, community_id: str) -> None:
    async with resources.db.transaction() as tx:
        await service.count_check(tx, community_id)
    try:
        await resources.hooks.check(url, community_id)
    except HookError as error:
        raise field_error("url", str(error)) from None


@router.get(BASE, summary="The hooks of a community")
async def list_hooks(admin: web.Admin, tx: web.Tx) -> web.Page[Hook]:
    """Returns all hooks, the oldest first. Secrets are shown to nobody."""
    endpoints = await service.list_in_community(tx, admin.community_id)
    return web.Page[Hook](items=[_to_schema(endpoint, tx.now) for endpoint in endpoints])


@router.post(BASE, status_code=201, summary="Make a hook", responses=FULL_RESPONSES)
async def create_hook(admin: SlowAdmin, body: NewHook, resources: web.ResourcesDep, response: Response) -> NewHookMade:
    """Returns the secret that signs the hook's messages (Standard Webhooks), this once only."""
    await _check_url(resources, body.url, admin.community_id)
    by = admin.caller.member_id
    async with resources.db.transaction() as tx:
        endpoint, secret = await service.create(tx, resources.encryption, admin.community_id, body.url, body.kinds, by)
        hook = _to_schema(endpoint, tx.now)
    log.info("hook created", hook_id=str(endpoint.id), community_id=admin.community_id, by=by)
    response.headers.update(NO_STORE)
    return NewHookMade(**hook.model_dump(), secret=secret)


@router.get(f"{BASE}/{{hook_id}}", summary="One hook")
async def get_hook(admin: web.Admin, hook_id: HookId, tx: web.Tx) -> Hook:
    """Returns the hook without its secret."""
    return _to_schema(await service.get_in_community(tx, admin.community_id, hook_id), tx.now)


@router.patch(f"{BASE}/{{hook_id}}", summary="Change a hook", responses=LIMITED_RESPONSES)
async def change_hook(admin: SlowAdmin, hook_id: HookId, changes: HookChanges, resources: web.ResourcesDep) -> Hook:
    """Changes only the given fields. Messages that wait for a disabled hook are given up when their turn comes."""
    async with resources.db.transaction() as tx:
        await service.get_in_community(tx, admin.community_id, hook_id)
    if "url" in changes:
        await _check_url(resources, changes["url"], admin.community_id)
    async with resources.db.transaction() as tx:
        endpoint = await service.get_in_community(tx, admin.community_id, hook_id, for_update=True)
        endpoint.url = changes.get("url", endpoint.url)
        endpoint.kinds = list(changes.get("kinds", endpoint.kinds))
        if "enabled" in changes:
            service.set_enabled(endpoint, enabled=changes["enabled"])
        return _to_schema(endpoint, tx.now)


@router.delete(f"{BASE}/{{hook_id}}", summary="Delete a hook", status_code=204)
async def delete_hook(admin: web.Admin, hook_id: HookId, tx: web.Tx) -> None:
    """Deletes the hook with its messages. Messages that were not sent yet never are."""
    await service.delete(tx, await service.get_in_community(tx, admin.community_id, hook_id, for_update=True))
    log.info("hook deleted", hook_id=str(hook_id), community_id=admin.community_id, by=admin.caller.member_id)


@router.post(f"{BASE}/{{hook_id}}/test", summary="Send a test message", status_code=202, responses=DISABLED_RESPONSES)
async def test_hook(admin: web.Admin, hook_id: HookId, tx: web.Tx) -> MessageQueued:
    """Queues a message of the kind `hook.test`; `attempts` shows the result."""
    endpoint = await service.get_in_community(tx, admin.community_id, hook_id)
    return MessageQueued(message_id=(await service.send_test(tx, endpoint)).id)


@router.post(f"{BASE}/{{hook_id}}/rotate", summary="Replace a hook's secret")
async def rotate_hook_secret(
    admin: web.Admin, hook_id: HookId, resources: web.ResourcesDep, tx: web.Tx, response: Response
) -> Rotated:
    """Returns a new secret. For 24 hours both secrets sign messages, so the receiver can change in time."""
    endpoint = await service.get_in_community(tx, admin.community_id, hook_id, for_update=True)
    secret = secrets.rotate(endpoint, resources.encryption, tx.now)
    log.info("hook secret rotated", hook_id=str(hook_id), by=admin.caller.member_id)
    response.headers.update(NO_STORE)
    return Rotated(secret=secret, former_secret_until=tx.now + secrets.OVERLAP)


@router.get(f"{BASE}/{{hook_id}}/attempts", summary="The messages of a hook, and how they went")
async def list_hook_attempts(
    admin: web.Admin, hook_id: HookId, tx: web.Tx, limit: web.Limit = 50, cursor: web.Cursor = None
) -> web.Page[HookMessage]:
    """Returns the messages of the last 30 days, the newest first.

    Of an endpoint's responses only the status is stored.
    """
    endpoint = await service.get_in_community(tx, admin.community_id, hook_id)
    messages = await service.list_messages(tx, endpoint.id, limit + 1, web.decode_cursor(cursor))
    page = messages[:limit]
    last = page[-1].message if len(messages) > limit else None
    return web.Page[HookMessage](
        items=[_message_to_schema(each) for each in page],
        next_cursor=web.encode_cursor(last.created_at, str(last.id)) if last else None,
    )


def _message_to_schema(entry: service.MessageWithAttempts) -> HookMessage:
    message = entry.message
    return HookMessage.model_validate(
        {name: getattr(message, name) for name in ("kind", "state", "created_at", "next_at")}
        | {
            "message_id": message.id,
            "attempts": [HookAttempt(at=each.at, status=each.status, problem=each.problem) for each in entry.attempts],
        }
    )


@router.post(
    f"{BASE}/{{hook_id}}/redeliver", summary="Send a message again", status_code=202, responses=DISABLED_RESPONSES
)
async def redeliver_hook_message(admin: web.Admin, hook_id: HookId, body: MessageChoice, tx: web.Tx) -> MessageQueued:
    """Sends it now, with the same `webhook-id`, even if it was delivered. Retries follow as for a new one."""
    endpoint = await service.get_in_community(tx, admin.community_id, hook_id)
    return MessageQueued(message_id=(await service.redeliver(tx, endpoint, body.message_id)).id)
