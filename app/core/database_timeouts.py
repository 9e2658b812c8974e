"""Timeouts of database connections for requests and jobs: locks, statements, idle transactions, dead peers.

An open connection proves nothing: the other end may be frozen, or gone without a word. A process that stops in the
middle of a transaction loses the transaction and its locks, so that it does not block others for long.
"""

import socket
from dataclasses import dataclass
from typing import Any

# Seconds. A run that completes its row does nothing between its last statements, and requests may wait for its locks.
IDLE_WHILE_COMPLETING = 2.0
APPLICATION_NAME = "kindryn-zoom"  # the name of our sessions, before the part that `stuck_sessions` reads
_TCP_USER_TIMEOUT = 10  # seconds after which the kernel gives up a silent connection, on either side


@dataclass(frozen=True)
class Timeouts:
    """Timeouts in seconds of one kind of process. The server enforces the first three.

    `lock`: waiting for another session's lock. `statement`: one statement. `idle`: a transaction in which nothing
    happens, or a statement of which only half has arrived (`stuck_sessions`).

    `connect`: making a connection. `acquire`: waiting for a free connection. `command`: the answer to one statement.
    `pooled_command`: the same on a hot path, including the wait for a connection. `transaction`: a whole transaction
    with all its waits; None is no limit.
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
        """The settings with which a session of the server starts."""
        seconds = {
            "lock_timeout": self.lock,
            "statement_timeout": self.statement,
            "idle_in_transaction_session_timeout": self.idle,
            "tcp_user_timeout": _TCP_USER_TIMEOUT,
        }
        probes = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}
        name_setting = {"application_name": f"{APPLICATION_NAME}/{int(1000 * self.idle)}"}
        return probes | name_setting | {name: str(int(1000 * value)) for name, value in seconds.items()}


# A person waits, and gets a response within three seconds in any case.
REQUEST_TIMEOUTS = Timeouts(
    lock=2.0, statement=2.2, idle=3.0, connect=2.0, acquire=2.0, command=2.3, pooled_command=2.3, transaction=2.6
)
# Nobody waits for a job, but people may wait for its locks. Periodic jobs block nobody, so their last transaction may
# take `PERIODIC_STATEMENT_TIMEOUT` for a statement. A dead connection shows only by an answer that does not come, so
# the process waits little longer than the server may take.
JOB_TIMEOUTS = Timeouts(lock=4.0, statement=5.0, idle=4.0, connect=5.0, acquire=30.0, command=6.0, pooled_command=6.0)
PERIODIC_STATEMENT_TIMEOUT = 60.0  # seconds
NETWORK_MARGIN = 5.0  # seconds that a process waits longer than the server may take for a long statement
# A person at a terminal is patient.
COMMAND_TIMEOUTS = Timeouts(
    lock=10.0, statement=600.0, idle=60.0, connect=5.0, acquire=30.0, command=605.0, pooled_command=605.0
)


def enable_keepalive(connection: Any) -> None:
    """Have the kernel notice a dead peer of an asyncpg connection, also while nothing is sent."""
    # asyncpg has no public access to its socket.
    found = connection._transport.get_extra_info("socket")
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _TCP_USER_TIMEOUT)


def set_command_timeout(connection: Any, seconds: float) -> None:
    """From now on an asyncpg connection waits `seconds` for the answer to a statement."""
    # asyncpg takes a timeout per call, but here SQLAlchemy makes the calls.
    connection._config = connection._config._replace(command_timeout=seconds)
