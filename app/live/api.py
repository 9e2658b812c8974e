"""Routes of a live event: its stream; reading, writing and deleting messages; asking and answering questions."""

import base64
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import select

from app import web
from app.core import database, identity
from app.core.errors import field_error
from app.events import access
from app.live import permissions, schemas, service, stream
from app.live.hub import Hub
from app.live.models import LivePost, LiveUpvote
from app.live.stream import EventStream
from app.web import Caller, Tx

router = APIRouter(tags=["Live"])
EventId = Annotated[UUID, Path(description="An event of one of your communities")]
MessageId = Annotated[UUID, Path(description="A message of an event of one of your communities")]
QuestionId = Annotated[UUID, Path(description="A question of an event of one of your communities")]
_NUMBER = r"^[0-9]{1,18}$"
LastSeen = Annotated[
    str | None,
    Query(pattern=_NUMBER, description="The same as `Last-Event-ID`, for who cannot send headers", examples=["7"]),
]
LastEventId = Annotated[
    str | None, Header(description="The `id` last received: what came after it comes first", examples=["7"])
]

_READER_REFUSALS = "`not-registered`, `waiting-list`, `no-show`, `not-there` (once it is over)"
_READER_RESPONSES: dict[int | str, dict[str, Any]] = {
    403: {"description": _READER_REFUSALS},
    404: {"description": "`not-found`"},
}
_STAFF_RESPONSES: dict[int | str, dict[str, Any]] = {
    403: {"description": "`forbidden`"},
    404: {"description": "`not-found`"},
}
_WRITER_RESPONSES: dict[int | str, dict[str, Any]] = _READER_RESPONSES | {
    409: {"description": "`not-live`"},
    429: {"description": "`too-many`, with `Retry-After`"},
}
_POST_RESPONSES: dict[int | str, dict[str, Any]] = _WRITER_RESPONSES | {
    410: {"description": "`deleted`: the same request was accepted before, and its message has been deleted since"}
}
_STREAM_RESPONSES: dict[int | str, dict[str, Any]] = _READER_RESPONSES | {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Server-sent events"},
    204: {"description": "The event is over, and all that happened is known already: do not come again"},
}


@router.get(
    "/api/events/{event_id}/live",
    response_class=StreamingResponse,
    responses=_STREAM_RESPONSES,
    summary="Follow an event live",
)
async def follow_live(
    event_id: EventId,
    request: Request,
    caller: Caller,
    resources: web.ResourcesDep,
    last_event_id: LastEventId = None,
    since: LastSeen = None,
) -> Response:
    """Sends server-sent events; the `id` of each is its number in the event's log, the same for everybody.

    First comes a `state`, then, with `Last-Event-ID`, everything missed, then what happens from now on: `state`
    (status, and how many people are in the meeting), `message`, `message-deleted`, `question`, `question-deleted`,
    `upvote`, `answer`, `closed`, and for admins and the event's coach `attention`. The data of `message` and `question`
    is what the lists below have; open the stream first and read the lists then, and nothing is missed. The stream ends
    when the token expires, when the caller may no longer read, and some time after the event. Comments every 15 seconds
    keep the connection open.
    """
    number = last_event_id if last_event_id and last_event_id.isascii() and last_event_id.isdigit() else since
    token = web.token_of(request, resources) or ""
    expires_at = identity.expires_at(token, web.MAX_TOKEN_AGE)
    async with resources.db.transaction() as tx:
        session = await stream.open_session(tx, event_id, caller, expires_at, int(number[:18]) if number else None)
    if session.is_exhausted:
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    hub: Hub = request.app.state.live
    return EventStream(stream.frames(hub, resources, session))


@router.get("/api/events/{event_id}/messages", responses=_READER_RESPONSES, summary="The chat, the newest first")
async def list_messages(
    event_id: EventId, caller: Caller, tx: Tx, limit: web.Limit = 50, cursor: web.Cursor = None
) -> web.Page[schemas.MessageView]:
    """Members who are coming may read; after the event, those who were there.

    Admins and the event's coach may always read.
    """
    posts = await _posts(tx, event_id, caller, "message", limit, cursor)
    return web.Page(items=[schemas.message(post) for post in posts[:limit]], next_cursor=_next(posts, limit))


@router.post(
    "/api/events/{event_id}/messages",
    status_code=201,
    response_model=schemas.MessageView,
    responses=_POST_RESPONSES,
    summary="Say something",
)
async def write_message(
    event_id: EventId, body: schemas.NewMessage, caller: Caller, tx: Tx, once: web.Idempotency
) -> Response:
    """Members who are coming, the hosts, admins and the event's coach may write while the event is live."""
    await access.get_visible(tx, event_id, caller)

    async def create() -> schemas.MessageView:
        return schemas.message(await service.write(tx, event_id, caller, "message", body.text))

    return await once(create)


@router.delete("/api/messages/{message_id}", status_code=204, responses=_STAFF_RESPONSES, summary="Take a message away")
async def delete_message(message_id: MessageId, caller: Caller, tx: Tx) -> None:
    """Admins and the event's coach may do this at any time. Every page removes it, and its text is erased."""
    await service.delete(tx, "message", message_id, caller)


@router.get("/api/events/{event_id}/questions", responses=_READER_RESPONSES, summary="The questions, the newest first")
async def list_questions(
    event_id: EventId, caller: Caller, tx: Tx, limit: web.Limit = 50, cursor: web.Cursor = None
) -> web.Page[schemas.QuestionWithVote]:
    """Returns the questions with their upvotes and answers, to the same people as the chat."""
    posts = await _posts(tx, event_id, caller, "question", limit, cursor)
    upvoted_ids = await _upvoted(tx, caller, posts)
    items = [schemas.question_with_vote(post, upvoted=post.id in upvoted_ids) for post in posts[:limit]]
    return web.Page(items=items, next_cursor=_next(posts, limit))


@router.post(
    "/api/events/{event_id}/questions",
    status_code=201,
    response_model=schemas.QuestionWithVote,
    responses=_POST_RESPONSES,
    summary="Ask something",
)
async def ask_question(
    event_id: EventId, body: schemas.NewQuestion, caller: Caller, tx: Tx, once: web.Idempotency
) -> Response:
    """The same people may ask as may write a message, while the event is live."""
    await access.get_visible(tx, event_id, caller)

    async def create() -> schemas.QuestionWithVote:
        question = await service.write(tx, event_id, caller, "question", body.text)
        return schemas.question_with_vote(question, upvoted=False)

    return await once(create)


@router.delete(
    "/api/questions/{question_id}", status_code=204, responses=_STAFF_RESPONSES, summary="Take a question away"
)
async def delete_question(question_id: QuestionId, caller: Caller, tx: Tx) -> None:
    """Admins and the event's coach may do this at any time. Upvotes and answer are deleted, too."""
    await service.delete(tx, "question", question_id, caller)


@router.put("/api/questions/{question_id}/upvote", responses=_WRITER_RESPONSES, summary="Want a question answered")
async def upvote_question(question_id: QuestionId, caller: Caller, tx: Tx) -> schemas.UpvotedView:
    """Counts once for each member, while the event is live."""
    return await _upvote(tx, question_id, caller, upvoted=True)


@router.delete("/api/questions/{question_id}/upvote", responses=_WRITER_RESPONSES, summary="Take an upvote back")
async def take_back_upvote(question_id: QuestionId, caller: Caller, tx: Tx) -> schemas.UpvotedView:
    """Members may do this while the event is live."""
    return await _upvote(tx, question_id, caller, upvoted=False)


@router.post("/api/questions/{question_id}/answer", responses=_STAFF_RESPONSES, summary="Answer a question")
async def answer_question(
    question_id: QuestionId, body: schemas.NewAnswer, caller: Caller, tx: Tx
) -> schemas.QuestionWithVote:
    """Admins and the event's coach may do this at any time. A further answer replaces the previous one."""
    question = await service.answer(tx, question_id, caller, body.text)
    return schemas.question_with_vote(question, upvoted=question.id in await _upvoted(tx, caller, [question]))


async def _upvote(tx: database.Tx, question_id: UUID, caller: identity.Caller, *, upvoted: bool) -> schemas.UpvotedView:
    question = await service.upvote(tx, question_id, caller, upvoted=upvoted)
    return schemas.UpvotedView(question_id=question_id, upvotes=question.upvotes, upvoted=upvoted)


async def _posts(
    tx: database.Tx, event_id: UUID, caller: identity.Caller, kind: service.Kind, limit: int, cursor: str | None
) -> list[LivePost]:
    """Return the posts of a page, and one more if there is a further page."""
    event = await access.get_visible(tx, event_id, caller)
    await permissions.require_reader(tx, event, caller)
    query = select(LivePost).where(LivePost.event_id == event_id, LivePost.kind == kind)
    if cursor is not None:
        query = query.where(LivePost.sequence < _decode_cursor(cursor))
    posts = await tx.session.scalars(query.order_by(LivePost.sequence.desc()).limit(limit + 1))
    return list(posts)


def _decode_cursor(cursor: str) -> int:
    """Return the number inside a cursor; 422 if the cursor is not ours."""
    try:
        (number,) = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if type(number) is not int or not 0 <= number < 2**63:
            raise ValueError("no number")
    except (ValueError, TypeError):
        raise field_error("cursor", "is not a cursor of this list") from None
    return number


def _next(posts: list[LivePost], limit: int) -> str | None:
    return web.encode_cursor(posts[limit - 1].sequence) if len(posts) > limit else None


async def _upvoted(tx: database.Tx, caller: identity.Caller, questions: list[LivePost]) -> frozenset[UUID]:
    """Return the ids of the questions that the caller has upvoted."""
    question_ids = await tx.session.scalars(
        select(LiveUpvote.question_id).where(
            LiveUpvote.member_id == caller.member_id, LiveUpvote.question_id.in_([each.id for each in questions])
        )
    )
    return frozenset(question_ids)
