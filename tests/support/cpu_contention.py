"""Measures by the kernel's counters how much slower programs run because others use the machine."""

from collections.abc import Sequence
from pathlib import Path


class CpuContention:
    """Watches programs from now on.

    A promised bound in seconds holds for a machine that has time for the programs. On a busy one, tests multiply it by
    `slowdown`.
    """

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._ran, self._waited = self._scheduler_times()

    def slowdown(self) -> float:
        """Return the programs' running plus waiting time divided by their running time; 1 on an idle machine."""
        ran, waited = (now - then for now, then in zip(self._scheduler_times(), (self._ran, self._waited), strict=True))
        return 1 + waited / ran if ran else 1.0

    def _scheduler_times(self) -> Sequence[int]:
        """Return nanoseconds on a processor and waiting for one.

        See sched-stats.rst of the kernel's documentation.
        """
        spent = [Path(f"/proc/{pid}/schedstat").read_text().split() for pid in self._pids]
        return [sum(int(fields[place]) for fields in spent) for place in (0, 1)]
