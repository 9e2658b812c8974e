"""Endpoints and their messages: create, enable, delete, test, redeliver, list; in the caller's transaction."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import Select, SQLColumnExpression, any_, func, literal, select, tuple_

from app.accounts import quotas
from app.commands import SendHookMessage
from app.core import database
from app.core.crypto import Encryption
from app.core.errors import Problem, field_error, not_found
from app.hooks import secrets
from app.hooks.models import HookAttempt, HookEndpoint, HookMessage
from app.hooks.payloads import TEST_KIND, Message, TestPayload
from app.web import Schema

MAX_ENDPOINTS = 50  # of one community
MAX_CHECKS_PER_HOUR = 120  # URLs of one community, each of which costs a DNS lookup
MAX_TESTS_PER_HOUR = 30  # of one endpoint
MAX_REDELIVERIES_PER_HOUR = 300  # messages of one endpoint


@dataclass(frozen=True)
class MessageWithAttempts:
    """A message and all its attempts, oldest first."""

    message: HookMessage
    attempts: Sequence[HookAttempt]


async def list_in_community(tx: database.Tx, community_id: str) -> Sequence[HookEndpoint]:
    """Return the endpoints of a community, the oldest first."""
    query = select(HookEndpoint).where(HookEndpoint.community_id == community_id)
    return (await tx.session.scalars(query.order_by(HookEndpoint.created_at, HookEndpoint.id))).all()


async def get_in_community(
    tx: database.Tx, community_id: str, hook_id: UUID, *, for_update: bool = False
) -> HookEndpoint:
    """Return an endpoint of the community, locked if `for_update`. Raises 404 if it has none with that id."""
    lock = {"key_share": True} if for_update else None  # does not block new messages, which refer to this row
    endpoint = await tx.session.get(HookEndpoint, hook_id, with_for_update=lock, populate_existing=True)
    if endpoint is None or endpoint.community_id != community_id:
        raise not_found("hook")
    return endpoint


async def create(
    tx: database.Tx, encryption: Encryption, community_id: str, url: str, kinds: Sequence[str], created_by: str
) -> tuple[HookEndpoint, str]:
    """Create an endpoint; returns it and its secret. Raises the problem `too-many-hooks`.

    `created_by` is a member id.
    """
    await quotas.lock_community(tx, community_id)
    count = select(func.count()).select_from(HookEndpoint).where(HookEndpoint.community_id == community_id)
    if (await tx.session.scalar(count) or 0) >= MAX_ENDPOINTS:
        raise Problem("too-many-hooks", f"A community has {MAX_ENDPOINTS} hooks at most. Delete one that is not used.")
    endpoint = HookEndpoint(
        id=uuid4(),
        community_id=community_id,
        url=url,
        kinds=list(kinds),
        enabled=True,
        created_by=created_by,
        created_at=tx.now,
    )
    secret = secrets.issue(endpoint, encryption)
    tx.session.add(endpoint)
    await tx.session.flush()
    return endpoint, secret


def set_enabled(endpoint: HookEndpoint, *, enabled: bool, reason: str | None = None) -> None:
    """Enable or disable an endpoint. `reason` says why if it was not an admin's decision."""
    endpoint.enabled = enabled
    endpoint.disabled_reason = reason


async def count_check(tx: database.Tx, community_id: str) -> None:
    """Count one more URL that is checked for a community. Raises the problem `too-many`."""
    limit_message = "The addresses of hooks were changed very often here: wait a while."
    await quotas.consume_hourly(tx, f"hook-check:{community_id}", MAX_CHECKS_PER_HOUR, limit_message)


async def delete(tx: database.Tx, endpoint: HookEndpoint) -> None:
    """Delete an endpoint with its messages."""
    query = select(HookMessage.id).where(HookMessage.endpoint_id == endpoint.id, HookMessage.state == "given_up")
    wake_dead_jobs(tx, [(endpoint, message_id) for message_id in await tx.session.scalars(query)])
    await tx.session.delete(endpoint)
    await tx.session.flush()


def wake_dead_jobs(tx: database.Tx, deleted_messages: Sequence[tuple[HookEndpoint, UUID]]) -> None:
    """Wake the dead jobs of deleted messages that were given up, so that the jobs remove themselves."""
    for endpoint, message_id in deleted_messages:
        tx.record(SendHookMessage(message_id, endpoint.id, endpoint.community_id))


def subscribed(community_id: str | SQLColumnExpression[str], kind: str) -> Select[HookEndpoint]:
    """Return the query for a community's enabled endpoints that subscribe to this kind."""
    return select(HookEndpoint).where(
        HookEndpoint.community_id == community_id, HookEndpoint.enabled, literal(kind) == any_(HookEndpoint.kinds)
    )


async def create_messages(
    tx: database.Tx,
    community_id: str,
    kind: str,
    subject: UUID,
    data: Schema,
    *,
    skip_unchanged: bool = False,
    ignored_fields: Collection[str] = (),
) -> None:
    """Create a message for every endpoint of the community that subscribes to this kind.

    `skip_unchanged`: none for an endpoint whose last message about the subject had the same data. `ignored_fields` do
    not count in this comparison.
    """
    payload = {name: value for name, value in data.model_dump(mode="json").items() if name not in ignored_fields}
    for endpoint in await tx.session.scalars(subscribed(community_id, kind)):
        last_payload = await _last_payload(tx, endpoint.id, kind, subject) if skip_unchanged else None
        if last_payload is None or {name: last_payload.get(name) for name in payload} != payload:
            _create_message(tx, endpoint, kind, subject, data)
    await tx.session.flush()  # assigns their numbers, so that later messages come after them


async def _last_payload(tx: database.Tx, endpoint_id: UUID, kind: str, subject: UUID) -> dict[str, Any] | None:
    query = select(HookMessage.body).where(
        HookMessage.endpoint_id == endpoint_id, HookMessage.kind == kind, HookMessage.subject == subject
    )
    body = await tx.session.scalar(query.order_by(HookMessage.number.desc()).limit(1))
    data: dict[str, Any] | None = orjson.loads(body)["data"] if body else None
    return data


def _create_message(tx: database.Tx, endpoint: HookEndpoint, kind: str, subject: UUID, data: Schema) -> HookMessage:
    message = HookMessage(
        id=uuid4(),
        endpoint_id=endpoint.id,
        kind=kind,
        subject=subject,
        body=Message(type=kind, timestamp=tx.now, data=data).model_dump_json(),
        state="waiting",
        attempts=0,
        next_at=tx.now,
        created_at=tx.now,
    )
    tx.session.add(message)
    tx.record(SendHookMessage(message.id, endpoint.id, endpoint.community_id))
    return message


def waiting_about_subject(message: HookMessage) -> Select[HookMessage]:
    """Return the query for waiting messages of the same endpoint and subject as this message.

    Test messages are left out, so that a test does not wait for an earlier one.
    """
    return select(HookMessage).where(
        HookMessage.endpoint_id == message.endpoint_id,
        HookMessage.subject == message.subject,
        HookMessage.kind != TEST_KIND,
        HookMessage.state == "waiting",
    )


async def wake_next(tx: database.Tx, message: HookMessage, community_id: str) -> None:
    """Request the next message about the same subject: this one was delivered or given up."""
    query = waiting_about_subject(message).where(HookMessage.number > message.number)
    following = await tx.session.scalar(query.order_by(HookMessage.number).limit(1))
    if following is not None:
        tx.record(SendHookMessage(following.id, message.endpoint_id, community_id))


async def send_test(tx: database.Tx, endpoint: HookEndpoint) -> HookMessage:
    """Create a test message for this endpoint alone. Raises the problems `hook-disabled` and `too-many`."""
    _require_enabled(endpoint)
    await quotas.consume_hourly(
        tx, f"hook-test:{endpoint.id}", MAX_TESTS_PER_HOUR, "This hook was tested very often: wait a while."
    )
    data = TestPayload(community_id=endpoint.community_id, hook_id=endpoint.id)
    return _create_message(tx, endpoint, TEST_KIND, endpoint.id, data)


async def redeliver(tx: database.Tx, endpoint: HookEndpoint, message_id: UUID) -> HookMessage:
    """Send one of the endpoint's messages again, now, with its old id.

    Raises 422 if the endpoint has no such message, and the problems `hook-disabled` and `too-many`.
    """
    message = await tx.session.get(HookMessage, message_id, with_for_update=True, populate_existing=True)
    if message is None or message.endpoint_id != endpoint.id:
        raise field_error("message_id", "is not a message of this hook")
    _require_enabled(endpoint)
    limit_message = "Messages of this hook were sent again very often: wait a while."
    await quotas.consume_hourly(tx, f"hook-again:{endpoint.id}", MAX_REDELIVERIES_PER_HOUR, limit_message)
    message.state = "waiting"
    message.attempts = 0
    message.next_at = tx.now
    tx.record(SendHookMessage(message.id, endpoint.id, endpoint.community_id))
    tx.run_now(str(message.id))
    return message


def _require_enabled(endpoint: HookEndpoint) -> None:
    if not endpoint.enabled:
        raise Problem("hook-disabled", "This hook is switched off. Switch it on again first.")


async def list_messages(
    tx: database.Tx, endpoint_id: UUID, limit: int, after: tuple[datetime, UUID] | None = None
) -> Sequence[MessageWithAttempts]:
    """Return up to `limit` messages of an endpoint, the newest first, after the given (created, id)."""
    statement = select(HookMessage).where(HookMessage.endpoint_id == endpoint_id)
    if after is not None:
        statement = statement.where(tuple_(HookMessage.created_at, HookMessage.id) < tuple_(*after))
    order = (HookMessage.created_at.desc(), HookMessage.id.desc())
    messages = (await tx.session.scalars(statement.order_by(*order).limit(limit))).all()
    ids = [message.id for message in messages]
    rows = await tx.session.scalars(
        select(HookAttempt).where(HookAttempt.message_id.in_(ids)).order_by(HookAttempt.at, HookAttempt.id)
    )
    attempts = rows.all()
    return [
        MessageWithAttempts(message, [each for each in attempts if each.message_id == message.id])
        for message in messages
    ]
