"""How long tests wait, and how they start programs, independent of the machine's load."""

import sys
from typing import Final

from app.core.database_timeouts import Timeouts

TIMEOUT: Final = 300.0
"""Seconds after which a test calls missing what it waits for. No promise: a machine that is busy may take its time."""

RELAXED_LIMITS: Final = Timeouts(
    lock=TIMEOUT,
    statement=TIMEOUT,
    idle=TIMEOUT,
    connect=TIMEOUT,
    acquire=TIMEOUT,
    command=TIMEOUT,
    pooled_command=TIMEOUT,
)
"""How long the service waits for the database in tests about something else. What is promised is short, and many
requests at once on a busy machine would meet it."""

PYTHON_COMMAND: Final = ("env", "--default-signal=INT", sys.executable)
"""Runs Python as a terminal does. Children of a run in the background would otherwise ignore Ctrl-C."""

KEEP_ALIVE: Final = 600
"""Seconds a server of a test keeps a connection without a request: longer than httpx does, so that none ends just when
it is used again. uvicorn and httpx both think of five."""
