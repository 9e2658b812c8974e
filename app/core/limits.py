"""How long a process waits for the database, and how long the database waits for a process.

No connection is trusted because it is open: the other end may be frozen, or gone without a word. Whoever is stopped in
the middle of a transaction loses it, and with it what it had locked, so that it stops nobody else for long.
"""

import socket
from dataclasses import dataclass
from typing import Any

IDLE_WHILE_FINISHING = 2.0  # seconds: while a run writes what others may wait for, it does nothing else
APPLICATION = "kindryn-zoom"  # what sessions are called, before what `silent` reads
_SILENCE = 10  # seconds after which the kernel gives a silent connection up, on either side


@dataclass(frozen=True)
class Limits:
    """Seconds, for one kind of process. The server keeps the first three, the process itself the others.

    `lock`: waiting for somebody's lock. `statement`: one statement. `idle`: a transaction in which nothing happens, or
    a statement of which only half has come (`silent`).
    `connect`: a new connection. `turn`: a free connection. `command`: the answer to one statement. `answer`: the same
    on a hot route, with the turn. `transaction`: all of one, however many waits there are in it; None is no limit.
    """

    lock: float
    statement: float
    idle: float
    connect: float
    turn: float
    command: float
    answer: float
    transaction: float | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What a session of the server is started with."""
        seconds = {
            "lock_timeout": self.lock,
            "statement_timeout": self.statement,
            "idle_in_transaction_session_timeout": self.idle,
            "tcp_user_timeout": _SILENCE,
        }
        probes = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}
        told = {"application_name": f"{APPLICATION}/{int(1000 * self.idle)}"}
        return probes | told | {name: str(int(1000 * value)) for name, value in seconds.items()}


# A person waits: whatever happens, they are told within three seconds.
REQUEST = Limits(lock=2.0, statement=2.2, idle=3.0, connect=2.0, turn=2.0, command=2.3, answer=2.3, transaction=2.6)
# Nobody waits for a job, but people may wait for what it holds. Sweeps, which are in nobody's way, have `SWEEP` for a
# statement.
# A connection that is open and dead shows by an answer that does not come, so what the process waits is little more
# than what the server takes.
JOB = Limits(lock=4.0, statement=5.0, idle=4.0, connect=5.0, turn=30.0, command=6.0, answer=6.0)
SWEEP = 60.0
ON_THE_WAY = 5.0  # seconds more than the server takes for a long statement
# Somebody at a terminal has patience.
COMMAND = Limits(lock=10.0, statement=600.0, idle=60.0, connect=5.0, turn=30.0, command=605.0, answer=605.0)


def keep_alive(connection: Any) -> None:
    """Have the kernel find out that the other end of an asyncpg connection is gone, also while nothing is sent."""
    # asyncpg offers no way to its socket but this.
    found = connection._transport.get_extra_info("socket")
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _SILENCE)


def answer_within(connection: Any, seconds: float) -> None:
    """From here on an asyncpg connection waits so long for the answer to a statement."""
    # Nor to this, where somebody else gives the statement.
    connection._config = connection._config._replace(command_timeout=seconds)
