"""Tables of completed reconciliations, and of strays: meetings and registrants to remove from Zoom."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model


class Reconciliation(Model):
    """A completed step after the restore of a backup.

    Either everything was invalidated, or one account was reconciled with Zoom. If a later backup contains this row and
    is restored, the row must not count there. So `place` and `transaction` tell where it was written.
    """

    __tablename__ = "reconciliations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    # The account that was reconciled; None for the step that invalidates everything.
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    # When the backup was made, or earlier.
    since: Mapped[datetime]
    # When the step was completed.
    at: Mapped[datetime]
    # The database and its timeline, which identify the database that wrote the row.
    place: Mapped[str] = mapped_column(Text)
    # The transaction that wrote the row. Restoring a dump writes it in another transaction.
    transaction: Mapped[int] = mapped_column(BigInteger)


class Stray(Model):
    """A meeting of ours at Zoom that no event has, or a registrant whom no registration has.

    A job removes it. `zoom_registrant_id` is empty for a meeting.
    """

    __tablename__ = "strays"
    __table_args__ = (UniqueConstraint("account_id", "zoom_meeting_id", "zoom_registrant_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    zoom_meeting_id: Mapped[int] = mapped_column(BigInteger)
    zoom_registrant_id: Mapped[str] = mapped_column(Text, server_default="")
    found_at: Mapped[datetime]
