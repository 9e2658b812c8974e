"""Which messages about an event (live, ended, host missing) are still to be sent, in order. Pure.

Going live and ending are announced in turn, even if both were noticed late, together or in the wrong order. If the
event went live and ended several times before anything was announced, this is announced once.
"""

from datetime import datetime
from typing import NamedTuple

from app.hooks.payloads import Kind


class AnnouncedState(NamedTuple):
    """Whether an event is live, how many of its runs have ended, and for which start its host was missing."""

    live: bool
    ended_runs: int
    host_missed_at: datetime | None


def transitions(announced: AnnouncedState, current: AnnouncedState) -> list[Kind]:
    """Return the kinds of messages that lead from the `announced` state to the `current` one."""
    kinds: list[Kind] = []
    another_ended = current.ended_runs > announced.ended_runs
    has_ended = announced.live and not current.live
    if has_ended or (announced.live and another_ended):
        kinds.append("event.ended")
    if current.host_missed_at not in {None, announced.host_missed_at}:
        kinds.append("event.host_missing")
    if another_ended and not announced.live:
        kinds += ["event.live", "event.ended"]
    if current.live and (another_ended or not announced.live):
        kinds.append("event.live")
    return kinds
