"""Tables of what happens while an event is live."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model


class LiveStream(Model):
    """How far an event's log has come, and what it last told of the event: its state, how many are in, how many wait
    without a host."""

    __tablename__ = "live_streams"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    status: Mapped[str] = mapped_column(Text, server_default="scheduled")
    participants: Mapped[int] = mapped_column(server_default="0")
    waiting: Mapped[int] = mapped_column(server_default="0")


class LiveEntry(Model):
    """One thing that happened. Of what people wrote it knows only the id: what was deleted is told to nobody again."""

    __tablename__ = "live_log"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    post_id: Mapped[UUID | None]
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    at: Mapped[datetime]


class LivePost(Model):
    """Something a person wrote: a message of the chat, or a question, with how many want it answered and the answer.

    It is gone when it is deleted, all of it.
    """

    __tablename__ = "live_posts"
    __table_args__ = (
        UniqueConstraint("event_id", "sequence"),
        CheckConstraint("kind IN ('message', 'question')", name="kind"),
        CheckConstraint("author_role IN ('host', 'admin', 'coach', 'member')", name="author_role"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    # The number of its entry in the log.
    sequence: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text)
    author_id: Mapped[str] = mapped_column(Text)
    author_name: Mapped[str] = mapped_column(Text)
    author_role: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    written_at: Mapped[datetime]
    upvotes: Mapped[int] = mapped_column(server_default="0")
    answer: Mapped[str | None] = mapped_column(Text)
    answered_by: Mapped[str | None] = mapped_column(Text)
    answered_name: Mapped[str | None] = mapped_column(Text)
    answered_at: Mapped[datetime | None]


class LiveUpvote(Model):
    """A member wants a question answered."""

    __tablename__ = "live_upvotes"

    question_id: Mapped[UUID] = mapped_column(ForeignKey("live_posts.id", ondelete="CASCADE"), primary_key=True)
    member_id: Mapped[str] = mapped_column(Text, primary_key=True)
