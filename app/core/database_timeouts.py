"""How long a process waits for the database, and how long the database waits for a process.

No connection is trusted because it is open: the other end may be frozen, or gone without a word. Whoever is stopped in
the middle of a transaction loses it, and with it what it had locked, so that it stops nobody else for long.
"""

import socket
from dataclasses import dataclass
from typing import Any

IDLE_WHILE_COMPLETING = 2.0  # seconds: while a run writes what others may wait for, it does nothing else
APPLICATION_NAME = "kindryn-zoom"  # what sessions are called, before what `silent` reads
_TCP_USER_TIMEOUT = 10  # seconds after which the kernel gives a silent connection up, on either side


@dataclass(frozen=True)
class Timeouts:
    """Seconds, for one kind of process. The server keeps the first three, the process itself the others.

    `lock`: waiting for somebody's lock. `statement`: one statement. `idle`: a transaction in which nothing happens, or
    a statement of which only half has come (`silent`).
    `connect`: a new connection. `acquire`: a free connection. `command`: the answer to one statement. `pooled_command`: the same
    on a hot route, with the turn. `transaction`: all of one, however many waits there are in it; None is no limit.
    """

    lock: float
    statement: float
    idle: float
    connect: float
    acquire: float
    command: float
    pooled_command: float
    transaction: float | None = None

    @property
    def server_settings(self) -> dict[str, str]:
        """What a session of the server is started with."""
        seconds = {
            "lock_timeout": self.lock,
            "statement_timeout": self.statement,
            "idle_in_transaction_session_timeout": self.idle,
            "tcp_user_timeout": _TCP_USER_TIMEOUT,
        }
        probes = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}
        name_setting = {"application_name": f"{APPLICATION_NAME}/{int(1000 * self.idle)}"}
        return probes | name_setting | {name: str(int(1000 * value)) for name, value in seconds.items()}


# A person waits: whatever happens, they are told within three seconds.
REQUEST_TIMEOUTS = Timeouts(
    lock=2.0, statement=2.2, idle=3.0, connect=2.0, acquire=2.0, command=2.3, pooled_command=2.3, transaction=2.6
)
# Nobody waits for a job, but people may wait for what it holds. Sweeps, which are in nobody's way, have `PERIODIC_STATEMENT_TIMEOUT` for a
# statement.
# A connection that is open and dead shows by an answer that does not come, so what the process waits is little more
# than what the server takes.
JOB_TIMEOUTS = Timeouts(lock=4.0, statement=5.0, idle=4.0, connect=5.0, acquire=30.0, command=6.0, pooled_command=6.0)
PERIODIC_STATEMENT_TIMEOUT = 60.0
NETWORK_MARGIN = 5.0  # seconds more than the server takes for a long statement
# Somebody at a terminal has patience.
COMMAND_TIMEOUTS = Timeouts(
    lock=10.0, statement=600.0, idle=60.0, connect=5.0, acquire=30.0, command=605.0, pooled_command=605.0
)


def enable_keepalive(connection: Any) -> None:
    """Have the kernel find out that the other end of an asyncpg connection is gone, also while nothing is sent."""
    # asyncpg offers no way to its socket but this.
    found = connection._transport.get_extra_info("socket")
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _TCP_USER_TIMEOUT)


def set_command_timeout(connection: Any, seconds: float) -> None:
    """From here on an asyncpg connection waits so long for the answer to a statement."""
    # Nor to this, where somebody else gives the statement.
    connection._config = connection._config._replace(command_timeout=seconds)
