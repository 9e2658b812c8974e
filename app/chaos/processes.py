"""One supervised process of a run: started, signalled, stopped, and restarted when it ends."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from app.chaos import shifted_clock
from app.devstack.server_process import Server, StartError

POLL_INTERVAL = 0.1  # seconds between two looks at a process


@dataclass
class SupervisedProcess:
    """One process of the service.

    `unexpected_exits` are the exit statuses of the times it ended although the run had not ended it.
    """

    server: Server
    folder: Path
    shift: Path
    unexpected_exits: list[int] = field(default_factory=list)
    starts: int = 0
    _stopped_on_purpose: bool = False
    _down_until: float = 0.0

    @property
    def name(self) -> str:
        """The name of the process."""
        return self.server.name

    @property
    def alive(self) -> bool:
        """Whether it runs or is frozen."""
        return self.server.process is not None and self.server.process.poll() is None

    async def start(self) -> None:
        """Start it, with a new log each time. Raises StartError."""
        self.starts += 1
        self.server.log = self.folder / f"{self.name}.{self.starts}.log"
        shifted_clock.set_shift(self.shift, 0.0)
        await self.server.start()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal if it exists."""
        if self.alive and self.server.process is not None:
            self.server.process.send_signal(number)

    def stop_for(self, number: signal.Signals, seconds: float) -> None:
        """End it with a signal and keep it down for at least this many seconds."""
        self._stopped_on_purpose = True
        self._down_until = asyncio.get_running_loop().time() + seconds
        self.send(number)

    async def supervise(self) -> None:
        """Restart it whenever it has ended, without end. A failed start is repeated."""
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            if self.alive or asyncio.get_running_loop().time() < self._down_until:
                continue
            if not self._stopped_on_purpose and self.server.process is not None:
                self.unexpected_exits.append(self.server.process.returncode)
            try:
                await self.start()
            except StartError:
                # Its log says why: something it needs is unavailable. A process that ends while it starts is not an
                # unexpected exit.
                self._stopped_on_purpose = True
                self._down_until = asyncio.get_running_loop().time() + 1.0
            else:
                self._stopped_on_purpose = False


def children_of(parent: int) -> list[int]:
    """Return the children of a process: field 4 of proc_pid_stat(5)."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to the processes that still exist."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
