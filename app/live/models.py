"""Tables of live events: the log with its state, posts and upvotes."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model


class LiveStream(Model):
    """The position of an event's log, and the state that the log last reported."""

    __tablename__ = "live_streams"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"), primary_key=True)
    # The number of the last entry.
    sequence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    # The event's status: `scheduled`, `live`, `ended` or `cancelled`.
    status: Mapped[str] = mapped_column(Text, server_default="scheduled")
    # People inside the meeting.
    participants: Mapped[int] = mapped_column(server_default="0")
    # People who wait while no host is there.
    waiting: Mapped[int] = mapped_column(server_default="0")


class LiveEntry(Model):
    """One entry of the log.

    An entry about a post has only its id, so the text of a deleted post is sent to nobody again.
    """

    __tablename__ = "live_log"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    # The post the entry is about. No foreign key: the entry outlives the post.
    post_id: Mapped[UUID | None]
    # The payload of entries that are not about a post, or report its deletion or upvotes.
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    at: Mapped[datetime]


class LivePost(Model):
    """A message of the chat, or a question with its upvotes and answer. Deleting a post removes its row."""

    __tablename__ = "live_posts"
    __table_args__ = (
        UniqueConstraint("event_id", "sequence"),
        CheckConstraint("kind IN ('message', 'question')", name="kind"),
        CheckConstraint("author_role IN ('host', 'admin', 'coach', 'member')", name="author_role"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    # The number of the log entry that reported the post.
    sequence: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text)
    author_id: Mapped[str] = mapped_column(Text)
    author_name: Mapped[str] = mapped_column(Text)
    # The author's role when they wrote it.
    author_role: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    written_at: Mapped[datetime]
    upvotes: Mapped[int] = mapped_column(server_default="0")
    # Questions only: the latest answer, its author, and when it was given.
    answer: Mapped[str | None] = mapped_column(Text)
    answered_by: Mapped[str | None] = mapped_column(Text)
    answered_name: Mapped[str | None] = mapped_column(Text)
    answered_at: Mapped[datetime | None]


class LiveUpvote(Model):
    """A member wants a question answered."""

    __tablename__ = "live_upvotes"

    question_id: Mapped[UUID] = mapped_column(ForeignKey("live_posts.id", ondelete="CASCADE"), primary_key=True)
    member_id: Mapped[str] = mapped_column(Text, primary_key=True)
