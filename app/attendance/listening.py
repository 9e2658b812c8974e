"""Deliveries that speak of participants, read one by one or many together: then each meeting is looked up once."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from app.attendance.heard import Heard, heard
from app.clients.zoom.notifications import Notification
from app.core import db
from app.core.crypto import Seal
from app.core.outbox import NotNow
from app.core.together import Batch
from app.inbox import service as inbox
from app.inbox.service import Speakers
from app.meetings import service as meetings
from app.meetings.models import Meeting

# A participant may be told without the meeting's number, and before its instance: Zoom repeats a start it could not
# deliver for 85 minutes. The longer it takes the rarer the looks.
WAITS_FOR_INSTANCE = timedelta(minutes=90)
LOOKS_AGAIN = timedelta(minutes=1)


class Listener:
    """Reads deliveries in one transaction."""

    def __init__(self, tx: db.Tx, seal: Seal) -> None:
        self._tx, self._seal, self._speakers = tx, seal, Speakers(tx)
        self._meetings: dict[tuple[object, ...], Meeting | None] = {}

    async def hear(self, delivery_id: UUID) -> tuple[Meeting, Heard] | None:
        """What a delivery says, and of which meeting; None where it is of nobody, or of no meeting of ours. Raises
        NotNow where the delivery is gone, and where its instance is not known yet."""
        delivery = await inbox.delivery(self._tx, delivery_id)
        notification = await inbox.notification(self._tx, self._seal, delivery_id)
        meeting = await self._meeting(notification, await self._speakers.of(delivery, notification))
        said = heard(notification, delivery.received_at)
        told_early = meeting is None and notification.object_id is None
        waited = self._tx.now - delivery.received_at
        if told_early and waited < WAITS_FOR_INSTANCE:
            pause = min(max(LOOKS_AGAIN, waited / 2), WAITS_FOR_INSTANCE - waited)
            raise NotNow("the instance is not known yet", "at", self._tx.now + pause)
        return (meeting, said) if meeting and said else None

    async def hear_all(self, keys: Iterable[str]) -> tuple[list[tuple[Meeting, Heard]], Batch]:
        """What many deliveries say, and what became of reading each."""
        said, batch = [], Batch()
        for delivery in await inbox.deliveries(self._tx, [UUID(key) for key in keys]):
            with batch.of(str(delivery.id)):
                one = await self.hear(delivery.id)
                if one is not None:
                    said.append(one)
        return said, batch

    async def _meeting(self, notification: Notification, account_ids: list[UUID]) -> Meeting | None:
        number = notification.meeting_number
        place = (*account_ids, number if notification.object_id else notification.uuid)
        if place not in self._meetings:
            if notification.object_id is None:
                found = await meetings.by_instance(self._tx, account_ids, notification.uuid or "")
            else:
                found = await meetings.by_zoom_id(self._tx, account_ids, number) if number else None
            self._meetings[place] = found
        return self._meetings[place]
