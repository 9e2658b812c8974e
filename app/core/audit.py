"""Who did what on somebody else's behalf: rows that stay when logs are gone. Ids only, no names and no addresses."""

from datetime import datetime, timedelta
from uuid import uuid4

from app.core import db
from app.core.models import AuditEntry

RETENTION = timedelta(days=365)


def record(tx: db.Tx, community_id: str, by: str, action: str, subject: str, about: str | None = None) -> None:
    """Write down that `by` did `action` to `subject` (a member or guest), where there is one `about` an event."""
    entry = AuditEntry(id=uuid4(), at=tx.now, community_id=community_id, by=by, action=action, subject=subject)
    entry.about = about
    tx.session.add(entry)


async def prune(tx: db.Tx, now: datetime) -> None:
    """Drop what is older than `RETENTION`."""
    await tx.execute("DELETE FROM audit WHERE at < :before", before=now - RETENTION)
