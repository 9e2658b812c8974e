"""Tables of reconciliations, and of what at Zoom belongs to nothing we know."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model


class Reconciliation(Model):
    """That after the restore of a backup, made at `since` or later, every number was raised, or that an account was
    brought together with Zoom.

    A copy of this row in a database restored later must not count there: `place` and `transaction` tell where it was
    written.
    """

    __tablename__ = "reconciliations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    # None where it is about everything.
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    since: Mapped[datetime]
    at: Mapped[datetime]
    # The database and its timeline.
    place: Mapped[str] = mapped_column(Text)
    # The transaction that wrote the row. A dump that is restored writes it in another.
    transaction: Mapped[int] = mapped_column(BigInteger)


class Stray(Model):
    """A meeting of ours at Zoom that no event knows of or, with a registrant's id, a registrant without an answer: to
    be taken away."""

    __tablename__ = "strays"
    __table_args__ = (UniqueConstraint("account_id", "zoom_meeting_id", "zoom_registrant_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    zoom_meeting_id: Mapped[int] = mapped_column(BigInteger)
    zoom_registrant_id: Mapped[str] = mapped_column(Text, server_default="")
    found_at: Mapped[datetime]
