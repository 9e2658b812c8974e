"""When an event's meeting was open, run by run, and who was inside. A run is one start-to-end of an instance."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from app.attendance.models import ParticipantSession
from app.attendance.participants import Participant, client_activity, during_run, participants
from app.attendance.sessions import InstanceWindow, Session, instance_windows
from app.core import database
from app.events.models import END_GRACE, Event
from app.meetings.instance_rules import InstanceTimes, runs
from app.meetings.models import HAS_TIMES, Instance, Meeting


@dataclass(frozen=True)
class MeetingHistory:
    """The runs of an event's instances, their windows, and the participants.

    `runs` and `windows` correspond, run by run; the window of a rehearsal is None. `participants` are those of
    instances that count, and those who waited for a host who never came.
    """

    runs: Mapping[str, Sequence[InstanceTimes]]
    windows: Mapping[str, Sequence[InstanceWindow | None]]
    participants: Sequence[Participant]

    @property
    def counted_windows(self) -> list[InstanceWindow]:
        """All windows except rehearsals, in the order of their starts."""
        return sorted(window for uuid_windows in self.windows.values() for window in uuid_windows if window)

    def sessions_of(self, participant: Participant) -> list[Session]:
        """Return when a participant was inside."""
        uuid = participant.instance_uuid
        return participant.sessions(self.runs[uuid], self.windows[uuid]) if uuid in self.windows else []


async def load_history(tx: database.Tx, event: Event) -> MeetingHistory:
    """Return what is known of an event's meetings so far."""
    instances = await tx.session.scalars(
        select(Instance).join(Meeting, Meeting.id == Instance.meeting_id).where(Meeting.event_id == event.id, HAS_TIMES)
    )
    sessions = await tx.session.scalars(
        select(ParticipantSession)
        .join(Meeting, Meeting.id == ParticipantSession.meeting_id)
        .where(Meeting.event_id == event.id)
    )
    over = event.live_at is None and tx.now >= event.ends_at + END_GRACE
    until = (event.ended_at or event.ends_at) if over else tx.now
    return build_history(instances.all(), sessions.all(), event.starts_at, until, is_over=over)


def build_history(
    instances: Iterable[Instance],
    sessions: Sequence[ParticipantSession],
    starts_at: datetime,
    until: datetime,
    *,
    is_over: bool,
) -> MeetingHistory:
    """Build the history from rows (pure).

    `until` is when the event was over, or the present if `is_over` is False.
    """
    joins: defaultdict[str, list[datetime]] = defaultdict(list)
    for session in sessions:
        joins[session.instance_uuid] += session.joins
    runs_by_uuid = {
        each.uuid: runs(
            each.starts,
            each.ends,
            earliest_start=each.started_at,
            inferred_end=each.inferred_end,
            joined_at=joins.get(each.uuid, ()),
        )
        for each in instances
    }
    first_seen: dict[tuple[str, int], datetime] = {}
    for session in sessions:
        for number, moments in _moments_by_run(session, runs_by_uuid.get(session.instance_uuid, ())):
            key = (session.instance_uuid, number)
            first_seen[key] = min(*moments, first_seen.get(key, moments[0]))
    times = {(uuid, number): run for uuid, uuid_runs in runs_by_uuid.items() for number, run in enumerate(uuid_runs)}
    counted = instance_windows(times, first_seen, starts_at, until, is_over=is_over)
    for uuid, _ in first_seen:
        runs_by_uuid.setdefault(uuid, [InstanceTimes(None, None)])
    windows_by_uuid = {
        uuid: [counted.get((uuid, number)) for number in range(len(uuid_runs))]
        for uuid, uuid_runs in runs_by_uuid.items()
    }
    rehearsed = {uuid for uuid, uuid_runs in windows_by_uuid.items() if not any(uuid_runs)}
    relevant = [each for each in sessions if each.instance_uuid not in rehearsed]
    return MeetingHistory(runs_by_uuid, windows_by_uuid, participants(relevant, _overall_windows(windows_by_uuid)))


def _moments_by_run(
    session: ParticipantSession, times: Sequence[InstanceTimes]
) -> Iterable[tuple[int, list[datetime]]]:
    """Yield the moments at which a client was inside, by run; nothing for a client that only waited."""
    activity = client_activity(session)
    for number in range(max(len(times), 1)):
        part = during_run(activity, times, number) if times else activity
        moments = [*part.joins, *part.leaves, *(at for interval in part.reported for at in interval)]
        if moments:
            yield number, sorted(moments)


def _overall_windows(windows_by_uuid: Mapping[str, Sequence[InstanceWindow | None]]) -> Mapping[str, InstanceWindow]:
    """Return the time from the first start to the last end of each instance."""
    counted = {uuid: [window for window in uuid_windows if window] for uuid, uuid_windows in windows_by_uuid.items()}
    return {
        uuid: InstanceWindow(uuid_windows[0].start, uuid_windows[-1].end, uuid_windows[-1].running)
        for uuid, uuid_windows in counted.items()
        if uuid_windows
    }
