"""Audit of what somebody did to or for another person, kept a year. Ids only, no names or addresses."""

from datetime import datetime, timedelta
from uuid import uuid4

from app.core import database
from app.core.models import AuditEntry

RETENTION = timedelta(days=365)  # how long an entry is kept


def record(tx: database.Tx, community_id: str, by: str, action: str, subject: str, about: str | None = None) -> None:
    """Add an entry: `by` did `action` to `subject`.

    The subject is a member or guest. `about` is the event, if there is one.
    """
    tx.session.add(
        AuditEntry(id=uuid4(), at=tx.now, community_id=community_id, by=by, action=action, subject=subject, about=about)
    )


async def prune(tx: database.Tx, now: datetime) -> None:
    """Delete entries older than `RETENTION`."""
    await tx.execute("DELETE FROM audit WHERE at < :before", before=now - RETENTION)
