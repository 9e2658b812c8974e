"""Reactions to what Zoom says of participants."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from app.attendance import service
from app.attendance.heard import heard
from app.clients.zoom.notifications import Notification
from app.core import db
from app.core.outbox import NotNow
from app.core.work import Work
from app.inbox import service as inbox
from app.meetings import service as meetings
from app.meetings.models import Meeting
from app.resources import Resources

# A participant may be told without the meeting's number, and before its instance.
WAITS_FOR_INSTANCE = timedelta(minutes=15)
LOOKS_AGAIN = timedelta(minutes=1)


async def note_participant(work: Work[Resources]) -> None:
    """Take down what Zoom said of a participant (the key is a delivery). Order and repetition make no difference."""
    async with work.done() as tx:
        delivery = await inbox.delivery(tx, work.id)
        notification = await inbox.notification(tx, work.resources.seal, work.id)
        meeting = await _meeting(tx, notification, await inbox.account_ids(tx, work.id, notification))
        said = heard(notification, delivery.received_at)
        if meeting and said:
            await service.note(tx, meeting.id, said)
            tx.ring(f"event:{meeting.event_id}")
        elif notification.object_id is None and tx.now < delivery.received_at + WAITS_FOR_INSTANCE:
            raise NotNow("the instance is not known yet", "at", tx.now + LOOKS_AGAIN)


async def _meeting(tx: db.Tx, notification: Notification, account_ids: Sequence[UUID]) -> Meeting | None:
    number = notification.object_id
    if number is None:
        return await meetings.by_instance(tx, account_ids, notification.uuid or "")
    return await meetings.by_zoom_id(tx, account_ids, int(number)) if number.isdigit() else None
