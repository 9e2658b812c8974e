"""What the platform is still to be told of an event, in order. Pure.

Going live and ending are told in turn, whatever was noticed late, together or in the wrong order. What came and went
several times before anybody told of it is told once.
"""

from datetime import datetime
from typing import NamedTuple

from app.hooks.kinds import Kind


class Standing(NamedTuple):
    """Whether an event is live, how many of its holdings are over, and for which start its host was missing."""

    live: bool
    holdings: int
    host_missed_at: datetime | None


def news(told: Standing, now: Standing) -> list[Kind]:
    """The kinds of messages that lead from what was `told` to how it is `now`."""
    kinds: list[Kind] = []
    went_by, over = now.holdings > told.holdings, told.live and not now.live
    if over or (told.live and went_by):
        kinds.append("event.ended")
    if now.host_missed_at not in {None, told.host_missed_at}:
        kinds.append("event.host_missing")
    if went_by and not told.live:
        kinds += ["event.live", "event.ended"]
    if now.live and (went_by or not told.live):
        kinds.append("event.live")
    return kinds
