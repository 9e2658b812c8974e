"""The table of deliveries: Zoom's authentic notifications, each stored once."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model
from app.core.encrypted_columns import EncryptedColumn


class Delivery(Model):
    """An authentic notification, stored once. The digest outlives the body and prevents duplicates."""

    __tablename__ = "deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    # The event name, such as `meeting.started`.
    kind: Mapped[str] = mapped_column(Text)
    zoom_account_id: Mapped[str | None] = mapped_column(Text)
    # The account whose own secret signed it; None if an app secret did, which is valid for any account.
    signed_by: Mapped[UUID | None]
    # What Zoom posted, encrypted; None once it is pruned.
    body: Mapped[EncryptedColumn | None]
    received_at: Mapped[datetime] = mapped_column(index=True)
    # When it was last turned into facts; None until then.
    interpreted_at: Mapped[datetime | None]
    # `understood`: it became facts. `unknown`: the event means nothing to us. `foreign`: it belongs to no connected
    # account. `void`: a deauthorization that disconnected nothing. `unread`: the body was pruned before it was read.
    outcome: Mapped[str | None] = mapped_column(Text)

    @property
    def source(self) -> str:
        """Whose delivery it is, as facts carry it."""
        return source_of(self.signed_by, self.zoom_account_id)


def source_of(signed_by: UUID | None, zoom_account_id: str | None) -> str:
    """Return the id of the account a delivery comes from; empty if it names none.

    That is the account whose own secret signed it, or else the Zoom account it names.
    """
    return str(signed_by or zoom_account_id or "")
