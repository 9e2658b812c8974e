"""Splits a meeting's instances into runs, and derives from the runs whether an event is live or over. Pure.

The result does not depend on the order in which notifications arrive.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import NamedTuple

from app.clients.zoom.notifications import Notification, parse_datetime

# Somebody who joined this shortly after the reported end may in truth have joined just before it.
ROUNDING = timedelta(minutes=1)


class InstanceTimes(NamedTuple):
    """One run of a meeting: when it started and ended, as far as known.

    `inferred` means that Zoom did not report these times. The meeting ran by an inferred start; by an inferred end it
    was over, or nobody was inside any more.
    """

    started_at: datetime | None
    ended_at: datetime | None
    inferred: bool = False


class EventLiveState(NamedTuple):
    """The live state of an event, derived from its runs.

    Since when a run is open, when the last run that counts ended, and how many runs that count are over.
    """

    live_at: datetime | None
    ended_at: datetime | None
    ended_runs: int = 0


def summarize(times: Iterable[InstanceTimes], starts_at: datetime) -> EventLiveState:
    """Return the live state of an event that starts at `starts_at`, from the runs of its meeting.

    A run that ended before `starts_at` was a rehearsal and does not count; an open run makes the event live. An
    instance that was opened again counts as several runs. A meeting has only one instance at a time, so only the last
    run can be open. If an earlier one has no end, its notification was lost.
    """
    known = sorted(set(times), key=lambda each: (_start_of(each), each.ended_at is None, each.ended_at))
    ended = [run.ended_at for run in known if run.ended_at is not None and run.ended_at >= starts_at]
    begun_after = [_start_of(after) for after in known[1:]]
    known_ends = [run.ended_at or after for run, after in zip_longest(known, begun_after)]
    count = sum(at is not None and at >= starts_at for at in known_ends)
    if known and known[-1].ended_at is None:
        return EventLiveState(known[-1].started_at, None, count)
    return EventLiveState(None, max(ended, default=None), count)


def runs(
    starts: Collection[datetime],
    ends: Collection[datetime],
    *,
    earliest_start: datetime | None = None,
    inferred_end: datetime | None = None,
    joined_at: Collection[datetime] = (),
) -> list[InstanceTimes]:
    """Split one instance into its runs: a start that is later than an end opens the instance again.

    `starts` and `ends` are all that Zoom reported. `earliest_start` is the earliest start, reported or inferred.
    `inferred_end` counts only if no end was reported. `joined_at` tells when participants joined: somebody who joined
    clearly after an end shows that the instance was opened again without a report. At least one run is returned, even
    if nothing is known about it.
    """
    first = min([*starts, *([earliest_start] if earliest_start else [])], default=None)
    latest = max(starts, default=None)
    found: list[InstanceTimes] = []
    while True:
        ended = min((at for at in ends if not found or first is None or at >= first), default=None)
        if ended is None:
            known = inferred_end if inferred_end and (latest is None or inferred_end >= latest) else None
            return [*found, InstanceTimes(first, known, known is not None)]
        found.append(InstanceTimes(first if first and first <= ended else None, ended))
        again = [*(at for at in starts if at > ended), *(at for at in joined_at if at > ended + ROUNDING)]
        if not again:
            return found
        first = min(again)


def _start_of(times: InstanceTimes) -> datetime:
    """Return a time to sort by: the start, else the end, else the beginning of time."""
    return times.started_at or times.ended_at or datetime.min.replace(tzinfo=UTC)


def times_from_notification(notification: Notification, received_at: datetime) -> InstanceTimes:
    """Return the times that a `meeting.started` or `meeting.ended` notification reports.

    If the start or end is missing or malformed, the time of the notification stands in, else the time we received it.
    """
    meeting_object = notification.payload_object
    occurred_at = notification.occurred_at or received_at
    started = parse_datetime(meeting_object.get("start_time"))
    if notification.event == "meeting.ended":
        return InstanceTimes(started, parse_datetime(meeting_object.get("end_time")) or occurred_at)
    return InstanceTimes(started or occurred_at, None)
