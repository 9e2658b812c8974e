"""Instances folded into what they mean for their event. Pure, and independent of the order they became known in."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import NamedTuple

from app.clients.zoom.notifications import Notification, moment

# Who is told to have come that shortly after the end may have come just before it.
ROUNDING = timedelta(minutes=1)


class Holding(NamedTuple):
    """One actual holding: when it started and ended, as far as Zoom has said.

    A start or end that was `found_out` was not told: by then it ran; by then it was over, or nobody was there any more.
    """

    started_at: datetime | None
    ended_at: datetime | None
    found_out: bool = False


class Folded(NamedTuple):
    """Since when an instance is open, when the last one that counts ended, and how many that count are over."""

    live_at: datetime | None
    ended_at: datetime | None
    holdings: int = 0


def fold(holdings: Iterable[Holding], starts_at: datetime) -> Folded:
    """An instance that ended before `starts_at` was a rehearsal and counts for nothing; an open one makes it live.
    An instance that was opened again is as many holdings as it had runs.

    A meeting has one instance at a time, so only the last can be open: the end of an earlier one was not heard.
    """
    known = sorted(set(holdings), key=lambda holding: (_began(holding), holding.ended_at is None, holding.ended_at))
    ended = [h.ended_at for h in known if h.ended_at is not None and h.ended_at >= starts_at]
    begun_after = [_began(after) for after in known[1:]]
    over_by = [h.ended_at or after for h, after in zip_longest(known, begun_after)]
    count = sum(at is not None and at >= starts_at for at in over_by)
    if known and known[-1].ended_at is None:
        return Folded(known[-1].started_at, None, count)
    return Folded(None, max(ended, default=None), count)


def runs(
    starts: Collection[datetime],
    ends: Collection[datetime],
    *,
    began: datetime | None = None,
    over_by: datetime | None = None,
    came: Collection[datetime] = (),
) -> list[Holding]:
    """One instance, run by run: an instance that ended is opened again by a start of which Zoom tells a later time.

    `starts` and `ends` are all that were told. `began` is the earliest start that was told or found out, `over_by` an
    end that was found out, and counts where none was told. `came` is when participants came: long after an end it was
    opened again, too, even if nobody told. At least one run is returned, though perhaps nothing is known of it.
    """
    first, latest = min([*starts, *([began] if began else [])], default=None), max(starts, default=None)
    found: list[Holding] = []
    while True:
        ended = min((at for at in ends if not found or first is None or at >= first), default=None)
        if ended is None:
            known = over_by if over_by and (latest is None or over_by >= latest) else None
            return [*found, Holding(first, known, known is not None)]
        found.append(Holding(first if first and first <= ended else None, ended))
        again = [*(at for at in starts if at > ended), *(at for at in came if at > ended + ROUNDING)]
        if not again:
            return found
        first = min(again)


def _began(holding: Holding) -> datetime:
    return holding.started_at or holding.ended_at or datetime.min.replace(tzinfo=UTC)


def holding_of(notification: Notification, received_at: datetime) -> Holding:
    """What `meeting.started` or `.ended` says of its instance. A time Zoom left out, or one that cannot be, is when it
    spoke, else when it was heard."""
    about, said = notification.about, notification.spoke_at or received_at
    started = moment(about.get("start_time"))
    if notification.event == "meeting.ended":
        return Holding(started, moment(about.get("end_time")) or said)
    return Holding(started or said, None)
