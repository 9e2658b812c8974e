"""Instances folded into what they mean for their event. Pure, and independent of the order they became known in."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from app.clients.zoom.notifications import Notification, moment


class Holding(NamedTuple):
    """One actual holding: when it started and ended, as far as Zoom has said.

    An end that was `found_out` was not told: by then it was over, or nobody was there any more.
    """

    started_at: datetime | None
    ended_at: datetime | None
    found_out: bool = False


class Folded(NamedTuple):
    """Since when an instance is open, and when the last one that counts ended."""

    live_at: datetime | None
    ended_at: datetime | None


def fold(holdings: Iterable[Holding], starts_at: datetime) -> Folded:
    """An instance that ended before `starts_at` was a rehearsal and counts for nothing; an open one makes it live.

    A meeting has one instance at a time, so only the last can be open: the end of an earlier one was not heard.
    """
    known = sorted(holdings, key=_began)
    ended = [h.ended_at for h in known if h.ended_at is not None and h.ended_at >= starts_at]
    if known and known[-1].ended_at is None:
        return Folded(known[-1].started_at, None)
    return Folded(None, max(ended, default=None))


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
