"""Ends our own database sessions that fell silent in mid-statement, and so frees their locks.

A driver prepares a statement and runs it with a second message. A process stopped between the two is not idle to the
server, so `idle_in_transaction_session_timeout` does not end its session; and while the server waits for a message,
`statement_timeout` does not apply. PostgreSQL 17 has `transaction_timeout`, which would end it; older versions have
nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from app.core import logs
from app.core.asyncpg_pool import DATABASE_ERRORS, AsyncpgPool
from app.core.database_timeouts import APPLICATION_NAME

INTERVAL = 1.0  # seconds between two checks
log = logs.get("stuck_sessions")

# The session's name says how long it may be silent (`Timeouts.server_settings`). Other applications may have any name.
TERMINATE_STUCK = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND state = 'active' AND wait_event = 'ClientRead'
  AND CASE WHEN application_name ~ ('^' || $1 || '/[0-9]+$')
      THEN query_start < clock_timestamp() - split_part(application_name, '/', 2)::int * interval '1 millisecond' END
"""


async def terminate_forever(pool: AsyncpgPool) -> None:
    """End stuck sessions for ever, each about a second after its time is over."""
    while True:
        await asyncio.sleep(INTERVAL)
        try:
            terminated = await pool.fetchval(TERMINATE_STUCK, APPLICATION_NAME)
        except DATABASE_ERRORS:
            continue  # other parts already report a database that is unreachable
        if terminated:
            log.warning("sessions ended that fell silent within a statement", sessions=terminated)


@contextlib.asynccontextmanager
async def terminating(pool: AsyncpgPool) -> AsyncIterator[None]:
    """Run `terminate_forever` while the block runs."""
    task = asyncio.create_task(terminate_forever(pool), name="stuck_sessions")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
