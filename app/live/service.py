"""Writing, upvoting, answering and deleting posts: local changes in the caller's transaction."""

from datetime import timedelta
from typing import Literal
from uuid import UUID, uuid4

from sqlalchemy import select

from app.accounts import quotas
from app.core import database, logs
from app.core.errors import Problem, not_found
from app.core.identity import Caller
from app.events import access
from app.events.models import Event
from app.live import event_log, permissions, schemas
from app.live.models import LivePost
from app.registrations.service import MAX_NAME

Kind = Literal["message", "question"]
MINUTE = timedelta(minutes=1)
# How often one member may do it in a minute, in all events together: more than people do, less than a flood.
MAX_PER_MINUTE: dict[str, int] = {"message": 20, "question": 5, "upvote": 30}
_LIMIT_MESSAGES = {
    "message": "You write very often: wait a moment, then send it once more.",
    "question": "You ask very often: wait a moment, then send it once more.",
    "upvote": "You changed your upvotes very often: wait a moment, then try once more.",
}
logger = logs.get("live")


async def write(tx: database.Tx, event_id: UUID, caller: Caller, kind: Kind, text: str) -> LivePost:
    """Add a message or a question of the caller, which every listener receives.

    Raises `not-found`, `not-registered` and similar if the caller may not write, `not-live`, and `too-many`.
    """
    event = await access.get_visible(tx, event_id, caller, lock=True)
    role = await permissions.require_writer(tx, event, caller)
    await _count_action(tx, kind, caller)
    post_id = uuid4()
    post = LivePost(
        id=post_id,
        event_id=event_id,
        sequence=await event_log.append(tx, event_id, kind, post_id=post_id),
        kind=kind,
        author_id=caller.member_id,
        author_name=caller.name[:MAX_NAME],
        author_role=role,
        text=text,
        written_at=tx.now,
        upvotes=0,
    )
    tx.session.add(post)
    await tx.session.flush()
    return post


async def upvote(tx: database.Tx, question_id: UUID, caller: Caller, *, upvoted: bool) -> LivePost:
    """Add or withdraw the caller's upvote of a question; listeners receive it only if it changes something."""
    event, question = await _post(tx, "question", question_id, caller)
    await permissions.require_writer(tx, event, caller)
    statement = (
        "INSERT INTO live_upvotes (question_id, member_id) VALUES (:question, :member) ON CONFLICT DO NOTHING"
        if upvoted
        else "DELETE FROM live_upvotes WHERE question_id = :question AND member_id = :member"
    )
    if (await tx.execute(statement, question=question_id, member=caller.member_id)).rowcount:
        await _count_action(tx, "upvote", caller)
        question.upvotes += 1 if upvoted else -1
        data = schemas.Upvotes(question_id=question_id, upvotes=question.upvotes)
        await event_log.append(tx, event.id, "upvote", data)
    return question


async def answer(tx: database.Tx, question_id: UUID, caller: Caller, text: str) -> LivePost:
    """Answer a question, as staff, at any time; listeners receive it only if it changes something."""
    event, question = await _post(tx, "question", question_id, caller)
    access.require_manager(event, caller)
    if (question.answer, question.answered_by) != (text, caller.member_id):
        question.answer = text
        question.answered_by = caller.member_id
        question.answered_at = tx.now
        question.answered_name = caller.name[:MAX_NAME]
        await event_log.append(tx, event.id, "answer", post_id=question_id)
    return question


async def delete(tx: database.Tx, kind: Kind, post_id: UUID, caller: Caller) -> None:
    """Delete a message or question, as staff, at any time.

    Nothing of it is stored any longer, except that its idempotency key stays used: a retry of the request must not
    create the post again.
    """
    event, post = await _post(tx, kind, post_id, caller)
    access.require_manager(event, caller)
    await tx.session.delete(post)
    await tx.execute(
        "UPDATE idempotency_keys SET body = NULL, fingerprint = '' WHERE member_id = :author AND body ->> 'id' = :post",
        author=post.author_id,
        post=str(post_id),
    )
    await event_log.append(tx, event.id, f"{kind}-deleted", schemas.Deleted(id=post_id))
    log_event = f"{kind} deleted"
    logger.info(log_event, event_id=str(event.id), post_id=str(post_id), author=post.author_id, by=caller.member_id)


async def _post(tx: database.Tx, kind: Kind, post_id: UUID, caller: Caller) -> tuple[Event, LivePost]:
    """Return a post with its event. The event is locked first, as everywhere."""
    event_id = await tx.session.scalar(select(LivePost.event_id).where(LivePost.id == post_id, LivePost.kind == kind))
    if event_id is None:
        raise not_found(kind)
    event = await access.get_visible(tx, event_id, caller, kind, lock=True)
    post = await tx.session.get(LivePost, post_id)
    if post is None:
        raise not_found(kind)
    return event, post


async def _count_action(tx: database.Tx, action: str, caller: Caller) -> None:
    """Count one more action of the caller in this minute. Raises `too-many` beyond the limit."""
    key = f"{action}:{caller.member_id}:{tx.now:%H:%M}"
    if not await quotas.consume(tx, key, MAX_PER_MINUTE[action]):
        retry_after = MINUTE.seconds - tx.now.second
        raise Problem("too-many", _LIMIT_MESSAGES[action], headers={"Retry-After": str(retry_after)})
