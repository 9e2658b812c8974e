"""Loads participant events from stored deliveries, one or many; each meeting is looked up once."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from app.attendance.participant_event import ParticipantEvent, parse
from app.clients.zoom.notifications import Notification
from app.core import database
from app.core.batching import BatchResult
from app.core.crypto import Encryption
from app.core.outbox import RetryLater
from app.inbox import service as inbox
from app.inbox.service import AccountResolver
from app.meetings import service as meetings
from app.meetings.models import Meeting

# A notification may lack the meeting's number and arrive before its instance is known: Zoom repeats a start that it
# could not deliver for 85 minutes. So the event waits this long; retries become rarer the longer it has waited.
INSTANCE_WAIT = timedelta(minutes=90)
MIN_RETRY_DELAY = timedelta(minutes=1)


class ParticipantEventLoader:
    """Loads participant events in one transaction."""

    def __init__(self, tx: database.Tx, encryption: Encryption) -> None:
        self._tx = tx
        self._encryption = encryption
        self._accounts = AccountResolver(tx)
        self._meetings: dict[tuple[object, ...], Meeting | None] = {}

    async def load(self, delivery_id: UUID) -> tuple[Meeting, ParticipantEvent] | None:
        """Return a delivery's event and its meeting; None if it names no client, or no meeting of ours.

        Raises RetryLater if the delivery has been deleted, or if its instance is not known yet.
        """
        delivery = await inbox.get_delivery(self._tx, delivery_id)
        notification = await inbox.read_notification(self._tx, self._encryption, delivery_id)
        meeting = await self._meeting(notification, await self._accounts.resolve(delivery, notification))
        event = parse(notification, delivery.received_at)
        instance_unknown = meeting is None and notification.object_id is None
        waited = self._tx.now - delivery.received_at
        if instance_unknown and waited < INSTANCE_WAIT:
            delay = min(max(MIN_RETRY_DELAY, waited / 2), INSTANCE_WAIT - waited)
            raise RetryLater("the instance is not known yet", "at", self._tx.now + delay)
        return (meeting, event) if meeting and event else None

    async def load_many(self, keys: Iterable[str]) -> tuple[list[tuple[Meeting, ParticipantEvent]], BatchResult]:
        """Return the events of many deliveries, and the result of loading each."""
        participant_events = []
        batch = BatchResult()
        for delivery in await inbox.get_deliveries(self._tx, [UUID(key) for key in keys]):
            with batch.handling(str(delivery.id)):
                loaded = await self.load(delivery.id)
                if loaded is not None:
                    participant_events.append(loaded)
        return participant_events, batch

    async def _meeting(self, notification: Notification, account_ids: list[UUID]) -> Meeting | None:
        number = notification.meeting_number
        key = (*account_ids, number if notification.object_id else notification.uuid)
        if key not in self._meetings:
            if notification.object_id is None:
                found = await meetings.by_instance(self._tx, account_ids, notification.uuid or "")
            else:
                found = await meetings.by_zoom_id(self._tx, account_ids, number) if number else None
            self._meetings[key] = found
        return self._meetings[key]
