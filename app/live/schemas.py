"""Schemas of live events, over HTTP and in the stream. Pure."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from app.live.models import LivePost
from app.web import Schema

# In characters.
MAX_MESSAGE_LENGTH = 2000
MAX_QUESTION_LENGTH = 1000
MAX_ANSWER_LENGTH = 4000
_ID = "0197f0a2-6c1b-7a40-8a51-0d7f3c2b9e11"
_AT = "2027-03-01T19:05:00Z"
# These characters change the writing direction of everything after them, including other people's text.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ALLOWED_CONTROLS = frozenset("\n\t")


def clean_text(text: str) -> str:
    """Return text without control characters except line breaks and tabs; ValueError if nothing is left."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = (
        each
        for each in lines
        if each in _ALLOWED_CONTROLS or (unicodedata.category(each) != "Cc" and each not in _BIDI_CONTROLS)
    )
    cleaned = "".join(kept).strip()
    if not cleaned:
        raise ValueError("must say something")
    return cleaned


def _text_constraints(max_length: int) -> StringConstraints:
    # PostgreSQL stores no NUL character, and nobody types one.
    return StringConstraints(min_length=1, max_length=max_length, pattern=r"^[^\x00]*$")


_TEXT_DESCRIPTION = "Plain text: shown as it is, never as markup. Control characters are taken out"
MessageText = Annotated[
    str,
    _text_constraints(MAX_MESSAGE_LENGTH),
    AfterValidator(clean_text),
    Field(description=_TEXT_DESCRIPTION, examples=["Hello, everybody!"]),
]
QuestionText = Annotated[
    str,
    _text_constraints(MAX_QUESTION_LENGTH),
    AfterValidator(clean_text),
    Field(description=_TEXT_DESCRIPTION, examples=["Is there a recording?"]),
]
AnswerText = Annotated[
    str,
    _text_constraints(MAX_ANSWER_LENGTH),
    AfterValidator(clean_text),
    Field(description=_TEXT_DESCRIPTION, examples=["Yes, from tomorrow on."]),
]


class NewMessage(Schema):
    """A message to everybody."""

    text: MessageText


class NewQuestion(Schema):
    """A question."""

    text: QuestionText


class NewAnswer(Schema):
    """The answer to a question. It replaces an earlier answer."""

    text: AnswerText


class AuthorView(Schema):
    """The author of a message or question, with their name at that time."""

    member_id: str = Field(examples=["m_17"])
    name: str = Field(examples=["Mia Member"])
    role: Literal["host", "admin", "coach", "member"] = Field(examples=["member"])


class MessageView(Schema):
    """A message of the chat."""

    id: UUID = Field(examples=[_ID])
    sequence: int = Field(description="Its number in the event's stream", examples=[7])
    author: AuthorView
    text: str = Field(description="Plain text", examples=["Hello, everybody!"])
    written_at: datetime = Field(examples=[_AT])


class AnswerView(Schema):
    """The answer to a question."""

    member_id: str = Field(description="Who answered", examples=["m_3"])
    name: str = Field(examples=["Ada Marsh"])
    text: str = Field(description="Plain text", examples=["Yes, from tomorrow on."])
    answered_at: datetime = Field(examples=[_AT])


class QuestionView(Schema):
    """A question, as everybody sees it."""

    id: UUID = Field(examples=[_ID])
    sequence: int = Field(description="Its number in the event's stream", examples=[8])
    author: AuthorView
    text: str = Field(description="Plain text", examples=["Is there a recording?"])
    written_at: datetime = Field(examples=[_AT])
    upvotes: int = Field(description="How many want it answered", examples=[3])
    answer: AnswerView | None = Field(description="Null until it is answered")


class QuestionWithVote(QuestionView):
    """A question, as one member sees it."""

    upvoted: bool = Field(description="Whether the caller wants it answered", examples=[False])


class UpvotedView(Schema):
    """The result of an upvote."""

    question_id: UUID = Field(examples=[_ID])
    upvotes: int = Field(examples=[4])
    upvoted: bool = Field(examples=[True])


class State(Schema):
    """`state`: the event's status, and how many people are in its meeting right now."""

    status: Literal["scheduled", "live", "ended", "cancelled"] = Field(examples=["live"])
    participants: int = Field(examples=[12])


class Closed(Schema):
    """`closed`: nothing more can be written."""

    status: Literal["ended", "cancelled"] = Field(examples=["ended"])


class Deleted(Schema):
    """`message-deleted`, `question-deleted`: remove it from the page."""

    id: UUID = Field(examples=[_ID])


class Upvotes(Schema):
    """`upvote`: how many want a question answered by now."""

    question_id: UUID = Field(examples=[_ID])
    upvotes: int = Field(examples=[4])


class AnswerGiven(Schema):
    """`answer`: a question has an answer, or another one than before."""

    question_id: UUID = Field(examples=[_ID])
    answer: AnswerView


class Attention(Schema):
    """`attention`, for admins and the event's coach: people wait and no host is there.

    With 0, nobody waits any more.
    """

    waiting: int = Field(examples=[3])
    sentence: str = Field(examples=["3 people are waiting and no host is there."])


def attention(waiting: int) -> Attention:
    """Return the payload for a number of people who wait without a host."""
    if waiting == 0:
        return Attention(waiting=0, sentence="Nobody is waiting for a host any more.")
    people = "One person is" if waiting == 1 else f"{waiting} people are"
    return Attention(waiting=waiting, sentence=f"{people} waiting and no host is there.")


def message(post: LivePost) -> MessageView:
    """Return a post as a message of the chat."""
    return MessageView.model_validate(_post_fields(post))


def question(post: LivePost) -> QuestionView:
    """Return a post as a question, with its answer if it has one."""
    return QuestionView.model_validate(_question_fields(post))


def question_with_vote(post: LivePost, *, upvoted: bool) -> QuestionWithVote:
    """Return a question for one member, with whether they have upvoted it."""
    return QuestionWithVote.model_validate(_question_fields(post) | {"upvoted": upvoted})


def answer_given(question: LivePost) -> AnswerGiven:
    """Return the payload that reports an answer."""
    return AnswerGiven.model_validate({"question_id": question.id, "answer": _answer_fields(question)})


def _post_fields(post: LivePost) -> dict[str, Any]:
    author = {"member_id": post.author_id, "name": post.author_name, "role": post.author_role}
    return {name: getattr(post, name) for name in ("id", "sequence", "text", "written_at")} | {"author": author}


def _question_fields(post: LivePost) -> dict[str, Any]:
    return _post_fields(post) | {"upvotes": post.upvotes, "answer": _answer_fields(post)}


def _answer_fields(post: LivePost) -> dict[str, Any] | None:
    if post.answer is None:
        return None
    fields = {"member_id": post.answered_by, "name": post.answered_name, "text": post.answer}
    return fields | {"answered_at": post.answered_at}
