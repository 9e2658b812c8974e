"""Store strays: meetings and registrants at Zoom that no row needs, and that a job removes."""

from uuid import UUID, uuid4

from sqlalchemy.dialects.postgresql import insert

from app import commands
from app.core import database
from app.reconciling.models import Stray


async def store(tx: database.Tx, account_id: UUID, number: int, registrant_id: str = "") -> None:
    """Have a job remove a meeting, or one of its registrants. Repeating the call does nothing."""
    statement = insert(Stray).values(
        id=uuid4(), account_id=account_id, zoom_meeting_id=number, zoom_registrant_id=registrant_id, found_at=tx.now
    )
    stray_id = await tx.session.scalar(statement.on_conflict_do_nothing().returning(Stray.id))
    if stray_id is not None:
        tx.record(commands.RemoveStray(stray_id, account_id))
