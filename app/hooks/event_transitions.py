"""What the platform is still to be told of an event, in order. Pure.

Going live and ending are told in turn, whatever was noticed late, together or in the wrong order. What came and went
several times before anybody told of it is told once.
"""

from datetime import datetime
from typing import NamedTuple

from app.hooks.payloads import Kind


class AnnouncedState(NamedTuple):
    """Whether an event is live, how many of its holdings are over, and for which start its host was missing."""

    live: bool
    ended_runs: int
    host_missed_at: datetime | None


def transitions(announced: AnnouncedState, current: AnnouncedState) -> list[Kind]:
    """The kinds of messages that lead from what was `announced` to how it is `current`."""
    kinds: list[Kind] = []
    another_ended, has_ended = current.ended_runs > announced.ended_runs, announced.live and not current.live
    if has_ended or (announced.live and another_ended):
        kinds.append("event.ended")
    if current.host_missed_at not in {None, announced.host_missed_at}:
        kinds.append("event.host_missing")
    if another_ended and not announced.live:
        kinds += ["event.live", "event.ended"]
    if current.live and (another_ended or not announced.live):
        kinds.append("event.live")
    return kinds
