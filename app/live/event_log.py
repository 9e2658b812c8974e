"""The log of an event: what happened live, numbered in commit order, and its form on the wire.

A number is taken while the event's row is locked, and the lock lasts until the commit. So a listener who has received a
number never receives a smaller one afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel
from sqlalchemy import func, or_, select
from sqlalchemy.orm import aliased

from app.core import database
from app.live import schemas
from app.live.models import LiveEntry, LivePost

_APPEND = """
WITH taken AS (
    INSERT INTO live_streams (event_id, sequence) VALUES (:event_id, 1)
    ON CONFLICT (event_id) DO UPDATE SET sequence = live_streams.sequence + 1 RETURNING sequence
)
INSERT INTO live_log (event_id, sequence, kind, post_id, data, at)
SELECT :event_id, sequence, :kind, CAST(:post_id AS uuid), CAST(:data AS jsonb), :now FROM taken RETURNING sequence
"""
# Kinds that only admins and the event's coach receive.
STAFF_KINDS = frozenset({"attention"})
_DATA_SCHEMAS: Mapping[str, type[BaseModel]] = {
    "state": schemas.State,
    "closed": schemas.Closed,
    "attention": schemas.Attention,
    "message-deleted": schemas.Deleted,
    "question-deleted": schemas.Deleted,
    "upvote": schemas.Upvotes,
}
_POST_SCHEMAS: Mapping[str, Callable[[LivePost], BaseModel]] = {
    "message": schemas.message,
    "question": schemas.question,
    "answer": schemas.answer_given,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log. `frame` is None if the entry is about a post that has been deleted."""

    sequence: int
    kind: str
    frame: bytes | None


def topic(event_id: UUID) -> str:
    """Return the pub/sub topic that is published when an event's log has grown."""
    return f"live:{event_id}"


async def append(
    tx: database.Tx, event_id: UUID, kind: str, data: BaseModel | None = None, post_id: UUID | None = None
) -> int:
    """Append an entry to the log of a locked event, and return its number.

    Listeners are notified after the commit.
    """
    added = await tx.execute(
        _APPEND,
        event_id=event_id,
        kind=kind,
        post_id=post_id,
        data=data.model_dump_json() if data else None,
        now=tx.now,
    )
    tx.publish(topic(event_id))
    sequence: int = added.scalar_one()
    return sequence


async def read_after(
    tx: database.Tx, event_id: UUID, sequence: int, limit: int, until: int | None = None
) -> Sequence[Entry]:
    """Return up to `limit` entries with numbers after `sequence`, in order.

    With `until` it returns a backlog: no entry after that number, and of several states only the last.
    """
    query = (
        select(LiveEntry.sequence, LiveEntry.kind, LiveEntry.data, LivePost)
        .outerjoin(LivePost, LivePost.id == LiveEntry.post_id)
        .where(LiveEntry.event_id == event_id, LiveEntry.sequence > sequence)
        .order_by(LiveEntry.sequence)
        .limit(limit)
    )
    if until is not None:
        states = aliased(LiveEntry)
        last = select(func.max(states.sequence)).where(
            states.event_id == event_id, states.kind == "state", states.sequence <= until
        )
        query = query.where(
            LiveEntry.sequence <= until, or_(LiveEntry.kind != "state", LiveEntry.sequence == last.scalar_subquery())
        )
    rows = await tx.session.execute(query)
    return [Entry(number, kind, _entry_frame(number, kind, data, post)) for number, kind, data, post in rows]


def sse_frame(sequence: int, kind: str, data: BaseModel) -> bytes:
    """Return an event in wire format (html.spec.whatwg.org, section 9.2.6). Our JSON contains no line breaks."""
    return f"id: {sequence}\nevent: {kind}\ndata: {data.model_dump_json()}\n\n".encode()


def _entry_frame(sequence: int, kind: str, data: dict[str, Any] | None, post: LivePost | None) -> bytes | None:
    if kind in _DATA_SCHEMAS:
        return sse_frame(sequence, kind, _DATA_SCHEMAS[kind].model_validate_json(orjson.dumps(data)))
    return sse_frame(sequence, kind, _POST_SCHEMAS[kind](post)) if post else None
