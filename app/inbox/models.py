"""The table of what Zoom delivered."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Model
from app.core.encrypted_columns import EncryptedColumn


class Delivery(Model):
    """One authentic notification, stored once. The digest stays when the body is pruned, and carries deduplication."""

    __tablename__ = "deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    kind: Mapped[str] = mapped_column(Text)
    zoom_account_id: Mapped[str | None] = mapped_column(Text)
    # The account whose own secret signed it; None where an app secret did, which speaks for any account.
    signed_by: Mapped[UUID | None]
    body: Mapped[EncryptedColumn | None]
    received_at: Mapped[datetime] = mapped_column(index=True)
    interpreted_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(Text)

    @property
    def source(self) -> str:
        """Whose delivery it is, as facts say it."""
        return source_of(self.signed_by, self.zoom_account_id)


def source_of(signed_by: UUID | None, zoom_account_id: str | None) -> str:
    """Whose a delivery is: the account's whose own secret signed it, or else the Zoom account's it names."""
    return str(signed_by or zoom_account_id or "")
