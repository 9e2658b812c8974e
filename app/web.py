"""What a route may depend on: transaction, caller and role, resources, idempotency, paging, entity tags.

The transaction commits before the response begins.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Generic, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from fastapi import Depends, Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from app.clients.jwks import KeysUnavailable, UnknownKey
from app.core import database, identity, logs, memberships
from app.core.errors import Problem, field_error, not_found
from app.resources import Resources

MAX_TOKEN_AGE = timedelta(hours=24)  # counted from `iat`, even if the token's `exp` is later
# No id, slug or name needs control characters, and the database accepts no NUL.
NO_CONTROL_CHARS = r"^[^\x00-\x1f\x7f-\x9f]*$"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
T = TypeVar("T")
log = logs.get("web")


class Schema(BaseModel):
    """A body we answer with or read. What we read names unknown fields instead of dropping them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(Schema, Generic[T]):
    """One page of a list; ask again with `cursor=next_cursor` until it is null."""

    items: list[T]
    next_cursor: str | None = Field(default=None, examples=[None])


async def get_resources(request: Request) -> Resources:
    """Return the resources of this process."""
    resources: Resources = request.app.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]


async def transaction(resources: ResourcesDep) -> AsyncIterator[database.Tx]:
    """A transaction that commits before the response begins, and rolls back on any exception."""
    async with resources.db.transaction() as tx:
        yield tx


# A plain `yield` dependency would commit after the response has begun; `scope="function"` ends before it.
Tx = Annotated[database.Tx, Depends(transaction, scope="function")]


def token_of(request: Request, resources: Resources) -> str | None:
    """Return the bearer token, else the cookie's.

    A cookie on an unsafe method needs an allowed `Origin`.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    settings = resources.settings
    cookie = request.cookies.get(settings.auth_cookie) if settings.auth_cookie else None
    if cookie and request.method not in SAFE_METHODS and request.headers.get("origin") not in resources.allowed_origins:
        raise Problem("origin-not-allowed", "A cookie counts only on calls from this platform's own pages.")
    return cookie


async def authenticate(request: Request, resources: Resources) -> identity.Caller | None:
    """Return the caller the token names, None without a token; raises `not-signed-in` for an invalid one.

    It does not check whether the caller has left a community since. Joining checks that in its own statement, all other
    routes in `require_caller`.
    """
    token = token_of(request, resources)
    if token is None:
        return None
    try:
        kid = identity.kid_of(token)
        key = resources.jwks.cached(kid) or await resources.jwks.key(kid)
        verify = partial(
            identity.verify,
            token,
            issuer=resources.settings.auth_issuer,
            audience=resources.settings.auth_audience,
            max_age=MAX_TOKEN_AGE,
            now=resources.clock.now(),
        )
        try:
            return verify(key)
        except identity.KeyMismatch:
            if (other := await resources.jwks.replacement_for(key)) is None:
                raise
            return verify(other)
    except identity.NotSignedIn as error:
        reason = error.reason
    except UnknownKey:
        reason = "unknown-key"
    except KeysUnavailable:
        raise Problem("not-available", "The platform's keys cannot be read right now. Try again in a moment.") from None
    log.info("token refused", reason=reason)
    detail = "Your sign-in is not valid any more. Sign in again."
    # RFC 6750 section 3.1.
    challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    raise Problem("not-signed-in", detail, headers=challenge, reason=reason)


async def require_caller(request: Request, resources: ResourcesDep) -> identity.Caller:
    """Return the caller without the communities they left since the token was issued; 401 without one."""
    return await memberships.without_left_communities(
        resources.db.pool, require_signed_in(await authenticate(request, resources))
    )


def require_signed_in(caller: identity.Caller | None) -> identity.Caller:
    """Return the caller; 401 if there is none."""
    if caller:
        return caller
    raise Problem("not-signed-in", "Sign in first.", headers={"WWW-Authenticate": "Bearer"})


Caller = Annotated[identity.Caller, Depends(require_caller)]


@dataclass(frozen=True)
class CommunityMembership:
    """A caller in one community. `role` is OWNER for the platform itself."""

    community_id: str
    slug: str
    role: identity.Role
    caller: identity.Caller

    @property
    def is_admin(self) -> bool:
        """Whether the role is OWNER or ADMIN."""
        return self.role in {identity.Role.OWNER, identity.Role.ADMIN}


Community = Annotated[
    str,
    Path(
        pattern=NO_CONTROL_CHARS,
        max_length=identity.MAX_ID_LENGTH,
        description="A community's id, or its slug (for the platform itself only its id)",
        examples=["zoom-reviewer"],
    ),
]


async def require_member(community: Community, caller: Caller, tx: Tx) -> CommunityMembership:
    """Return a caller with any role in the path's community.

    To other callers the community does not exist (404).
    """
    if caller.is_platform:
        return CommunityMembership(
            community, await memberships.upsert_community(tx, community, None), identity.Role.OWNER, caller
        )
    membership = caller.membership_in(community)
    if membership is None:
        raise not_found("community")
    slug = await memberships.upsert_community(tx, membership.community_id, membership.slug)
    return CommunityMembership(membership.community_id, slug, membership.role, caller)


async def require_admin(membership: Annotated[CommunityMembership, Depends(require_member)]) -> CommunityMembership:
    """Return an OWNER or ADMIN of the community."""
    if not membership.is_admin:
        raise Problem("forbidden", "Only owners and admins of the community may do this.")
    return membership


async def require_staff(membership: Annotated[CommunityMembership, Depends(require_member)]) -> CommunityMembership:
    """Return an OWNER, ADMIN or COACH of the community."""
    if not membership.is_admin and membership.role is not identity.Role.COACH:
        raise Problem("forbidden", "Only owners, admins and coaches of the community may do this.")
    return membership


Member = Annotated[CommunityMembership, Depends(require_member)]
Admin = Annotated[CommunityMembership, Depends(require_admin)]
Staff = Annotated[CommunityMembership, Depends(require_staff)]
Limit = Annotated[int, Query(ge=1, le=200, description="How many items at the most")]
Cursor = Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before")]


class IdempotentCreate:
    """Runs a creating request once per `Idempotency-Key`; repeating the request gets the same response."""

    def __init__(self, tx: database.Tx, member_id: str, key: str | None, fingerprint: str) -> None:
        self._tx = tx
        self._member_id = member_id
        self._key = key
        self._fingerprint = fingerprint

    async def __call__(self, create: Callable[[], Awaitable[BaseModel]], status: int = 201) -> Response:
        """Return the response of `create`, made now or by an earlier request with this key."""
        if self._key is None:
            return JSONResponse((await create()).model_dump(mode="json"), status)
        inserted = await self._tx.execute(
            "INSERT INTO idempotency_keys (member_id, key, fingerprint, created_at)"
            " VALUES (:member, :key, :fingerprint, :now) ON CONFLICT DO NOTHING",
            member=self._member_id,
            key=self._key,
            fingerprint=self._fingerprint,
            now=self._tx.now,
        )
        if not inserted.rowcount:
            return await self._replay()
        body = (await create()).model_dump(mode="json")
        await self._tx.execute(
            "UPDATE idempotency_keys SET status = :status, body = CAST(:body AS jsonb)"
            " WHERE member_id = :member AND key = :key",
            status=status,
            body=orjson.dumps(body).decode(),
            member=self._member_id,
            key=self._key,
        )
        return JSONResponse(body, status)

    async def _replay(self) -> Response:
        row = (
            await self._tx.execute(
                "SELECT fingerprint, status, body FROM idempotency_keys WHERE member_id = :member AND key = :key",
                member=self._member_id,
                key=self._key,
            )
        ).one()
        if row.body is None:
            raise Problem("deleted", "What was made with this Idempotency-Key has been deleted since.")
        if row.fingerprint != self._fingerprint:
            wrong = {"field": "Idempotency-Key", "message": "was used for a different request"}
            raise Problem("idempotency-key-reused", "This Idempotency-Key was used before.", errors=[wrong])
        return JSONResponse(row.body, row.status)


IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=128, description="The same key and request again get the same answer, once made"),
]


async def idempotent_create(
    request: Request,
    caller: Caller,
    tx: Tx,
    idempotency_key: IdempotencyKey = None,
) -> IdempotentCreate:
    """Bind the request's `Idempotency-Key` to its method, path and body."""
    content = b"\n".join((request.method.encode(), request.url.path.encode(), await request.body()))
    return IdempotentCreate(tx, caller.member_id, idempotency_key, hashlib.sha256(content).hexdigest())


Idempotency = Annotated[IdempotentCreate, Depends(idempotent_create, scope="function")]


def encode_cursor(*position: object) -> str:
    """Return a cursor for the position after a row with these sort values."""
    return base64.urlsafe_b64encode(orjson.dumps(list(position))).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Return the (time, id) that a cursor encodes; 422 if it is not such a cursor."""
    if cursor is None:
        return None
    try:
        time, row = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        # The database has no time without an offset, nor one beyond its calendar in UTC.
        if datetime.fromisoformat(time).tzinfo is None:
            raise ValueError("no offset")
        return datetime.fromisoformat(time).astimezone(UTC), UUID(row)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise field_error("cursor", "is not a cursor of this list") from None


def etag(version: int) -> str:
    """Return the entity tag of a version (RFC 9110 section 8.8.3)."""
    return f'"{version}"'


def check_if_match(if_match: str | None, version: int) -> None:
    """Raise 412 `stale` unless `If-Match` is absent, `*`, or names `version`."""
    if if_match is None or if_match.strip() == "*":
        return
    if etag(version) not in {tag.strip().removeprefix("W/") for tag in if_match.split(",")}:
        raise Problem("stale", "Somebody changed this since you read it. Read it again and repeat your change.")


def origin_of(url: str) -> str:
    """Return the scheme and authority of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
