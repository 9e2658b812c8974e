"""Instances folded into what they mean for their event. Pure, and independent of the order they became known in."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import NamedTuple

from app.clients.zoom.notifications import Notification, parse_datetime

# Who is told to have come that shortly after the end may have come just before it.
ROUNDING = timedelta(minutes=1)


class InstanceTimes(NamedTuple):
    """One actual holding: when it started and ended, as far as Zoom has said.

    A start or end that was `inferred` was not told: by then it ran; by then it was over, or nobody was there any more.
    """

    started_at: datetime | None
    ended_at: datetime | None
    inferred: bool = False


class EventLiveState(NamedTuple):
    """Since when an instance is open, when the last one that counts ended, and how many that count are over."""

    live_at: datetime | None
    ended_at: datetime | None
    ended_runs: int = 0


def summarize(times: Iterable[InstanceTimes], starts_at: datetime) -> EventLiveState:
    """An instance that ended before `starts_at` was a rehearsal and counts for nothing; an open one makes it live.
    An instance that was opened again is as many holdings as it had runs.

    A meeting has one instance at a time, so only the last can be open: the end of an earlier one was not heard.
    """
    known = sorted(set(times), key=lambda each: (_start_of(each), each.ended_at is None, each.ended_at))
    ended = [h.ended_at for h in known if h.ended_at is not None and h.ended_at >= starts_at]
    begun_after = [_start_of(after) for after in known[1:]]
    known_ends = [h.ended_at or after for h, after in zip_longest(known, begun_after)]
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
    """One instance, run by run: an instance that ended is opened again by a start of which Zoom tells a later time.

    `starts` and `ends` are all that were told. `earliest_start` is the earliest start that was told or found out, `over_by` an
    end that was found out, and counts where none was told. `joined_at` is when participants came: long after an end it was
    opened again, too, even if nobody told. At least one run is returned, though perhaps nothing is known of it.
    """
    first, latest = (
        min([*starts, *([earliest_start] if earliest_start else [])], default=None),
        max(starts, default=None),
    )
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
    return times.started_at or times.ended_at or datetime.min.replace(tzinfo=UTC)


def times_from_notification(notification: Notification, received_at: datetime) -> InstanceTimes:
    """What `meeting.started` or `.ended` says of its instance. A time Zoom left out, or one that cannot be, is when it
    spoke, else when it was heard."""
    meeting_object, occurred_at = notification.payload_object, notification.occurred_at or received_at
    started = parse_datetime(meeting_object.get("start_time"))
    if notification.event == "meeting.ended":
        return InstanceTimes(started, parse_datetime(meeting_object.get("end_time")) or occurred_at)
    return InstanceTimes(started or occurred_at, None)
