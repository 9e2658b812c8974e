"""When an event's meeting was open, run by run, and who was inside, from everything that is known of either."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from app.attendance.fold import Stay, Window, windows
from app.attendance.models import ParticipantSession
from app.attendance.participants import Participant, client, during, participants
from app.core import db
from app.events.models import GRACE, Event
from app.meetings.instances import Holding, runs
from app.meetings.models import TIMED, Instance, Meeting


@dataclass(frozen=True)
class Held:
    """`runs` and `windows` go together, instance by instance; the window of a rehearsal is None. The participants are
    those of instances that count, and of those who waited for a host who never came."""

    runs: Mapping[str, Sequence[Holding]]
    windows: Mapping[str, Sequence[Window | None]]
    participants: Sequence[Participant]

    @property
    def counting(self) -> list[Window]:
        """Everything but rehearsals, as it began."""
        return sorted(window for its in self.windows.values() for window in its if window)

    def inside(self, participant: Participant) -> list[Stay]:
        """When somebody was inside."""
        uuid = participant.instance_uuid
        return participant.inside(self.runs[uuid], self.windows[uuid]) if uuid in self.windows else []


async def held(tx: db.Tx, event: Event) -> Held:
    """What is known of an event's meetings, as far as Zoom has told."""
    instances = await tx.session.scalars(
        select(Instance).join(Meeting, Meeting.id == Instance.meeting_id).where(Meeting.event_id == event.id, TIMED)
    )
    sessions = await tx.session.scalars(
        select(ParticipantSession)
        .join(Meeting, Meeting.id == ParticipantSession.meeting_id)
        .where(Meeting.event_id == event.id)
    )
    over = event.live_at is None and tx.now >= event.ends_at + GRACE
    until = (event.ended_at or event.ends_at) if over else tx.now
    return put_together(instances.all(), sessions.all(), event.starts_at, until, over=over)


def put_together(
    instances: Iterable[Instance],
    sessions: Sequence[ParticipantSession],
    starts_at: datetime,
    until: datetime,
    *,
    over: bool,
) -> Held:
    """The same, of rows (pure): `until` is when it was over, or the present while nothing is `over`."""
    came: defaultdict[str, list[datetime]] = defaultdict(list)
    for session in sessions:
        came[session.instance_uuid] += session.joins
    its = {
        each.uuid: runs(
            each.starts, each.ends, began=each.started_at, over_by=each.over_by, came=came.get(each.uuid, ())
        )
        for each in instances
    }
    seen: dict[tuple[str, int], datetime] = {}
    for session in sessions:
        for number, moments in _inside(session, its.get(session.instance_uuid, ())):
            key = (session.instance_uuid, number)
            seen[key] = min(*moments, seen.get(key, moments[0]))
    known = {(uuid, number): run for uuid, all_ in its.items() for number, run in enumerate(all_)}
    counting = windows(known, seen, starts_at, until, over=over)
    for uuid, _ in seen:
        its.setdefault(uuid, [Holding(None, None)])
    found = {uuid: [counting.get((uuid, number)) for number in range(len(all_))] for uuid, all_ in its.items()}
    rehearsed = {uuid for uuid, all_ in found.items() if not any(all_)}
    relevant = [each for each in sessions if each.instance_uuid not in rehearsed]
    return Held(its, found, participants(relevant, _whole(found)))


def _inside(session: ParticipantSession, its: Sequence[Holding]) -> Iterable[tuple[int, list[datetime]]]:
    """The moments at which a client was inside, by run; none of one that only waited."""
    heard = client(session)
    for number in range(max(len(its), 1)):
        part = during(heard, its, number) if its else heard
        moments = [*part.joins, *part.leaves, *(at for span in part.reported for at in span)]
        if moments:
            yield number, sorted(moments)


def _whole(found: Mapping[str, Sequence[Window | None]]) -> Mapping[str, Window]:
    """From when until when each instance was held in all."""
    counting = {uuid: [window for window in its if window] for uuid, its in found.items()}
    return {uuid: Window(its[0].begins, its[-1].ends, its[-1].running) for uuid, its in counting.items() if its}
