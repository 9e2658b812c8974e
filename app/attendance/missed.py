"""Holdings of which Zoom told neither start nor end, as while nobody listened: asked for once they should be over.

Zoom is asked a few times after the scheduled end, where the grant permits to. What it knows of is taken down as found
out, and everything else follows as if it had been told. No answer says that nothing was held.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from app import facts
from app.accounts import grants
from app.accounts.models import Account
from app.attendance.afterwards import is_whole, reported
from app.attendance.models import ParticipantSession
from app.attendance.settling import HEARD_OUT, participants, participants_scope
from app.clients.zoom import NotFound, ZoomError, allows
from app.core import db, logs
from app.core.work import Work
from app.events import service as events
from app.events.models import Event
from app.meetings import holdings
from app.meetings import service as meetings
from app.meetings.instances import Holding
from app.meetings.models import Instance, Meeting
from app.resources import Resources

DETAILS = "meeting:read:past_meeting"
GIVEN_UP = timedelta(days=3)
LOOKED_AT = 100  # meetings a minute
log = logs.get("attendance")

# The first look is at the moment at which nobody waits any more for a meeting to begin.
_MISSED = """
WITH found AS (
    SELECT meetings.id FROM meetings JOIN events ON events.id = meetings.event_id
    WHERE events.live_at IS NULL AND events.ended_at IS NULL
      AND events.cancelled_at IS NULL AND events.deleted_at IS NULL
      AND events.ends_at > CAST(:now AS timestamptz) - CAST(:given_up AS interval)
      AND meetings.state <> ALL(:settled) AND meetings.zoom_meeting_id IS NOT NULL
      AND meetings.account_id = ANY(:accounts)
      AND EXISTS (
        SELECT FROM unnest(CAST(ARRAY['15 minutes', '2 hours', '12 hours', '1 day'] AS interval[])) AS look
        WHERE events.ends_at + look <= :now
          AND (meetings.holding_asked_at IS NULL OR meetings.holding_asked_at < events.ends_at + look))
    ORDER BY events.ends_at LIMIT :limit FOR NO KEY UPDATE OF meetings SKIP LOCKED
)
UPDATE meetings SET holding_asked_at = :now FROM found WHERE meetings.id = found.id
RETURNING meetings.event_id, meetings.account_id
"""


@dataclass(frozen=True)
class Unheard:
    """A meeting nothing was told of, and by which names Zoom may be asked: UUIDs of instances of which something else
    than a time was heard, or the meeting's number, which means the latest."""

    meeting_id: UUID
    account_id: UUID
    scopes: Sequence[str]
    names: Sequence[str]


async def miss(tx: db.Tx) -> None:
    """Have Zoom asked about events that should be over and of whose meeting no start and no end is known, a few times.
    The calls themselves are paced like all others."""
    connected = await tx.session.execute(select(Account.id, Account.scopes).where(Account.status == "connected"))
    accounts = [account_id for account_id, scopes in connected if allows(scopes, DETAILS) or participants_scope(scopes)]
    given = {"settled": list(meetings.SETTLED), "given_up": GIVEN_UP, "limit": LOOKED_AT}
    for row in await tx.run(_MISSED, now=tx.now, accounts=accounts, **given):
        tx.record(facts.HoldingMissed(row.event_id, row.account_id))


async def ask(work: Work[Resources]) -> None:
    """Ask Zoom whether the meeting of an event (the key) was held, if nothing is known of it still."""
    async with work.reading() as tx:
        unheard = await _unheard(tx, work.id)
    if unheard is None:
        return
    found = [(name, await _held(work, unheard, name)) for name in unheard.names]
    async with work.done() as tx:
        event = await events.lock(tx, work.id)
        if event is None or not _is_unheard(event, tx.now):
            return
        meeting = await tx.session.get_one(Meeting, unheard.meeting_id)
        for name, its in found:
            # Of a rehearsal nothing follows.
            if its and its[1].ended_at and its[1].ended_at >= event.starts_at:
                log.info("held unheard", event_id=work.key, by_number=name.isdigit())
                await holdings.note(tx, meeting, *its)


async def _unheard(tx: db.Tx, event_id: UUID) -> Unheard | None:
    """What to ask about an event; None where something is known meanwhile, or nobody may be asked."""
    event, meeting = await events.get(tx, event_id), await meetings.current(tx, event_id)
    if event is None or meeting is None or not _is_unheard(event, tx.now):
        return None
    account = await tx.session.get_one(Account, meeting.account_id)
    if account.status != "connected":
        return None
    names = await _heard_of(tx, meeting.id)
    detailed = allows(account.scopes, DETAILS)
    # Without its details it stands under its meeting's number, which is of use once nobody can tell of it any more.
    if detailed or (not names and tx.now >= event.ends_at + HEARD_OUT):
        names.append(str(meeting.zoom_meeting_id))
    return Unheard(meeting.id, account.id, account.scopes, names)


def _is_unheard(event: Event, now: datetime) -> bool:
    untold = event.live_at is None and event.ended_at is None
    return untold and event.on_zoom and event.ends_at < now < event.ends_at + GIVEN_UP


async def _heard_of(tx: db.Tx, meeting_id: UUID) -> list[str]:
    """The instances of a meeting that are known by their participants or recordings alone."""
    sessions = await tx.session.scalars(select(ParticipantSession).where(ParticipantSession.meeting_id == meeting_id))
    instances = (await tx.session.scalars(select(Instance).where(Instance.meeting_id == meeting_id))).all()
    told = {instance.uuid for instance in instances if instance.started_at or instance.ended_at}
    heard = {session.instance_uuid for session in sessions if session.seen_inside}
    return sorted((heard | {instance.uuid for instance in instances}) - told)


async def _held(work: Work[Resources], unheard: Unheard, name: str) -> tuple[str, Holding] | None:
    """What Zoom knows of an instance by one of its names; None where it does not say."""
    try:
        if allows(unheard.scopes, DETAILS):
            past = await (await grants.zoom(work.resources, unheard.account_id)).get_past_meeting(name)
            return past.uuid, Holding(past.start_time, past.end_time, found_out=True)
        scope = participants_scope(unheard.scopes)
        rows = await participants(work.resources, unheard.account_id, name, scope) if scope else []
    except NotFound:
        return None
    except ZoomError as error:
        if error.again in {"later", "at"}:
            raise
        log.info("nothing found out", event_id=work.key, reason=type(error).__name__)
        return None
    # Who waited for the host did not begin it.
    moments = [at for client in reported(rows, ()) for span in client.inside for at in span]
    return (name, Holding(min(moments), max(moments), found_out=True)) if moments and is_whole(rows) else None
