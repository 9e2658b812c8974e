"""Keeps track of whether Zoom has a recording of an instance, by notifications or by asking Zoom.

Notifications come late, twice, in any order or not at all. The one with the latest event time counts. If none arrives,
a job asks Zoom some time after the end, if the grant allows it. An empty or failed response never means that there is
no recording.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select

from app import facts
from app.accounts import grants
from app.accounts.models import Account
from app.clients.zoom import NotFound, ZoomError, allows
from app.clients.zoom.notifications import Notification, clean_text
from app.core import database, logs
from app.core.job_runner import JobContext
from app.meetings import drift, service
from app.meetings.models import Instance, Meeting
from app.resources import Resources

LIST_SCOPE = "cloud_recording:read:list_recording_files"
# A recording in the trash cannot be fetched. Somebody may restore it.
GONE_NOTIFICATIONS = ("recording.trashed", "recording.deleted", "recording.batch_trashed", "recording.batch_deleted")
# Instances that one run of `find_unreported` takes; it runs every minute.
MAX_PER_RUN = 100
log = logs.get("meetings")

# Zoom needs about as long as the meeting took to process a recording, sometimes far longer. So an instance is due 20
# minutes, two hours and twelve hours after its end. Rehearsals are left out.
_UNREPORTED = """
WITH found AS (
    SELECT instances.id, meetings.account_id FROM instances
    JOIN meetings ON meetings.id = instances.meeting_id JOIN events ON events.id = meetings.event_id
    WHERE instances.recording_available IS NULL AND instances.ended_at > CAST(:now AS timestamptz) - interval '3 days'
      AND instances.ended_at >= events.starts_at AND events.deleted_at IS NULL
      AND meetings.account_id = ANY(:accounts)
      AND COALESCE(
        meetings.observed #>> '{settings,auto_recording}', meetings.last_sent #>> '{settings,auto_recording}') = 'cloud'
      AND EXISTS (
        SELECT FROM unnest(ARRAY[interval '20 minutes', interval '2 hours', interval '12 hours']) AS look
        WHERE instances.ended_at + look <= :now
          AND (instances.recording_polled_at IS NULL OR instances.recording_polled_at < instances.ended_at + look))
    ORDER BY instances.ended_at LIMIT :limit FOR NO KEY UPDATE OF instances SKIP LOCKED
)
UPDATE instances SET recording_polled_at = :now FROM found WHERE instances.id = found.id
RETURNING instances.id, found.account_id
"""


class RecordingStatus(NamedTuple):
    """What Zoom reported at a time: that it has a recording, or that it no longer has one."""

    at: datetime
    available: bool


async def handle_notification(
    tx: database.Tx, account_ids: Sequence[UUID], notification: Notification, at: datetime
) -> None:
    """Store what a notification reports about recordings at the time `at`.

    A notification about a transcript shows as well that there is a recording.
    """
    status = RecordingStatus(at, notification.event not in GONE_NOTIFICATIONS)
    meeting = await drift.meeting_for(tx, account_ids, notification)
    for uuid in instance_uuids(notification):
        owner = meeting or await service.by_instance(tx, account_ids, uuid)
        if owner is not None:
            await store(tx, owner, uuid, status)


def instance_uuids(notification: Notification) -> list[str]:
    """Return the UUIDs of the instances a notification is about.

    A batch notification names several, and Zoom has two formats for that.
    """
    payload_object = notification.payload_object
    batches = (payload_object.get("meetings"), payload_object.get("meeting_uuids"))
    entries = [entry for each in batches if isinstance(each, list) for entry in each]
    named = [clean_text(entry.get("meeting_uuid") if isinstance(entry, dict) else entry) for entry in entries]
    return sorted({uuid for uuid in (notification.uuid, *named) if uuid})


async def store(tx: database.Tx, meeting: Meeting, uuid: str, status: RecordingStatus) -> None:
    """Store the recording status of one instance; insert the instance if it is new."""
    await tx.execute(
        "INSERT INTO instances (id, meeting_id, uuid) VALUES (gen_random_uuid(), :meeting, :uuid)"
        " ON CONFLICT (meeting_id, uuid) DO NOTHING",
        meeting=meeting.id, uuid=uuid,
    )  # fmt: skip
    found = select(Instance).where(Instance.meeting_id == meeting.id, Instance.uuid == uuid).with_for_update()
    row = (await tx.session.scalars(found)).one()
    # Of two reports with the same time, the one that the recording is gone counts as the later one.
    if row.recording_reported_at and (row.recording_reported_at, not row.recording_available) >= (
        status.at,
        not status.available,
    ):
        return
    if status.available and not row.recording_available:
        tx.record(facts.RecordingAvailable(row.id, meeting.account_id))
    row.recording_available, row.recording_reported_at = status.available, status.at
    tx.publish(f"event:{meeting.event_id}")


async def find_unreported(tx: database.Tx) -> None:
    """Have Zoom asked about instances that should have a recording and of which Zoom reported none.

    Zoom is asked 20 minutes, two hours and twelve hours after the end, and then no more. The rate limiter spaces the
    calls like all others.
    """
    connected = await tx.session.execute(select(Account.id, Account.scopes).where(Account.status == "connected"))
    accounts = [account_id for account_id, scopes in connected if allows(scopes, LIST_SCOPE)]
    for row in await tx.execute(_UNREPORTED, now=tx.now, accounts=accounts, limit=MAX_PER_RUN):
        tx.record(facts.RecordingUnreported(row.id, row.account_id))


async def fetch(job: JobContext[Resources]) -> None:
    """Ask Zoom for the recording of one instance (the key), unless its status is known by now."""
    asked_at = job.resources.clock.now()
    async with job.read_only() as tx:
        row = await tx.session.get(Instance, job.id)
        meeting = await tx.session.get_one(Meeting, row.meeting_id) if row else None
        account = await tx.session.get_one(Account, meeting.account_id) if meeting else None
    if row is None or meeting is None or account is None or row.recording_available is not None:
        return
    if (
        account.status == "connected"
        and allows(account.scopes, LIST_SCOPE)
        and await _is_available(job, account.id, row.uuid)
    ):
        async with job.complete() as tx:
            await store(tx, meeting, row.uuid, RecordingStatus(asked_at, available=True))


async def _is_available(job: JobContext[Resources], account_id: UUID, uuid: str) -> bool:
    """Ask Zoom whether it has a recording. False means only that it does not report one yet."""
    zoom = await grants.client_for(job.resources, account_id)
    try:
        return (await zoom.get_recordings(uuid)).available
    except NotFound:
        return False
    except ZoomError as error:
        if error.retry in {"backoff", "at"}:
            raise
        log.info("no recording", instance_id=job.key, reason=type(error).__name__)
        return False
