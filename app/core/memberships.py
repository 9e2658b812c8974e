"""Which communities tokens have named for a member, and which the member has left; stores communities.

The platform's token is the only source for who belongs where, and it is valid for up to a day. Two facts must outlive
it. A community that no token of a member has named may not use anything the member enters elsewhere. And a member who
left a community, or was removed, is refused there with every token issued before.

A row is written when a token first names a community, and when a member leaves one; a request only reads it. The
comparison uses the token's `iat`. Platforms write whole seconds, so a token of the very second in which a member left
is refused, too.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from app.core import database
from app.core.asyncpg_pool import AsyncpgPool
from app.core.errors import not_found
from app.core.identity import Caller

# Published when a member left a community, so that the member's open streams end.
LEFT_TOPIC = "memberships.left"
_SELECT = "SELECT community_id, named_at, left_at FROM memberships WHERE member_id = $1 AND community_id = ANY($2)"
_RECORD_NAMED = """
INSERT INTO memberships (member_id, community_id, named_at)
SELECT $1, community_id, $3 FROM unnest($2::text[]) AS community_id
ON CONFLICT (member_id, community_id) DO UPDATE SET named_at = excluded.named_at
WHERE memberships.named_at IS NULL AND (memberships.left_at IS NULL OR memberships.left_at < excluded.named_at)
"""
_LEAVE = """
INSERT INTO memberships (member_id, community_id, left_at) VALUES (:member_id, :community_id, :now)
ON CONFLICT (member_id, community_id) DO UPDATE SET named_at = NULL, left_at = excluded.left_at
"""
# The row is locked, so that a member who leaves meanwhile waits, and the leaving then finds what was written here.
_LOCK = """
SELECT left_at FROM memberships WHERE member_id = :member_id AND community_id = :community_id FOR SHARE
"""
_SELECT_LEFT = """
SELECT member_id, left_at FROM memberships
WHERE community_id = :community_id AND member_id = ANY(:members) AND left_at IS NOT NULL
"""
_PRUNE = "DELETE FROM memberships WHERE named_at IS NULL AND left_at < :before"


def has_left(issued_at: datetime | None, left_at: datetime | None) -> bool:
    """Whether the member left after the token was issued; False without a token, as for guests."""
    return issued_at is not None and left_at is not None and issued_at <= left_at


async def without_left_communities(pool: AsyncpgPool, caller: Caller) -> Caller:
    """Return the caller without the communities they left since their token was issued.

    The remaining communities are recorded as named by a token.
    """
    if not caller.memberships:
        return caller
    rows = await pool.fetch(_SELECT, caller.member_id, [each.community_id for each in caller.memberships])
    left = {row["community_id"] for row in rows if has_left(caller.issued_at, row["left_at"])}
    named = {row["community_id"] for row in rows if row["named_at"] is not None}
    remaining = tuple(each for each in caller.memberships if each.community_id not in left)
    await record_named(pool, caller, [each.community_id for each in remaining if each.community_id not in named])
    return replace(caller, memberships=remaining)


async def record_named(pool: AsyncpgPool, caller: Caller, communities: list[str]) -> None:
    """Record that a token of the caller names these communities. Does nothing for none."""
    if communities:
        await pool.execute(_RECORD_NAMED, caller.member_id, sorted(communities), caller.issued_at)


async def leave(tx: database.Tx, community_id: str, member_id: str) -> None:
    """Refuse every token of the member issued until now in this community.

    Calling it twice is harmless.
    """
    await tx.execute(_LEAVE, member_id=member_id, community_id=community_id, now=tx.now)
    tx.publish(LEFT_TOPIC)


async def lock_membership(tx: database.Tx, community_id: str, member_id: str, issued_at: datetime | None) -> bool:
    """Whether a member whose token is of `issued_at` has not left.

    Nobody can leave until this transaction ends.
    """
    left_at: Any = (await tx.execute(_LOCK, member_id=member_id, community_id=community_id)).scalar()
    return not has_left(issued_at, left_at)


async def current_members(tx: database.Tx, community_id: str, callers: Collection[Caller]) -> list[Caller]:
    """Return the callers who have not left the community since their tokens were issued.

    The platform never leaves.
    """
    member_ids = sorted({caller.member_id for caller in callers})
    rows = await tx.execute(_SELECT_LEFT, community_id=community_id, members=member_ids)
    left_at = {row.member_id: row.left_at for row in rows}
    return [
        caller
        for caller in callers
        if caller.is_platform or not has_left(caller.issued_at, left_at.get(caller.member_id))
    ]


async def prune(tx: database.Tx, before: datetime) -> None:
    """Delete the rows of members who left before `before` and have not come back.

    No valid token may be older than `before`.
    """
    await tx.execute(_PRUNE, before=before)


async def upsert_community(tx: database.Tx, community_id: str, slug: str | None) -> str:
    """Record a community as the token describes it, and return its slug.

    The platform's token names no slug; then the stored one is returned. Raises 404 if there is none.
    """
    known: str | None = (await tx.execute("SELECT slug FROM communities WHERE id = :id", id=community_id)).scalar()
    if slug is None and known is None:
        raise not_found("community")
    if slug is None or slug == known:
        return known or ""
    # Written only if the slug changed: the row's lock would make a community's requests wait for each other.
    await tx.execute(
        "INSERT INTO communities (id, slug) VALUES (:id, :slug) ON CONFLICT (id) DO UPDATE SET slug = excluded.slug",
        id=community_id,
        slug=slug,
    )
    return slug
