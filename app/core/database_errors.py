"""Whether an error says that the database cannot be had right now, and asking again later is all there is to do."""

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

RETRY_AFTER = 2  # seconds: longer than whoever was stopped while it held a lock keeps it

# What such an error may be raised as, besides much else.
POSSIBLE_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    SQLAlchemyError,
)
# postgresql.org/docs/current/errcodes-appendix.html: connection exceptions, rollbacks (deadlocks), lack of resources,
# operator intervention (shutdown, a statement that took too long), system errors; then a lock that was not to be had, a
# transaction that was idle for too long, a standby that takes no writes.
_TRANSIENT_CLASSES = ("08", "40", "53", "57", "58")
_TRANSIENT_CODES = frozenset({"55P03", "25P03", "25006"})


def is_database_unavailable(error: BaseException) -> bool:
    """Whether this error, or the one it wraps, is of that kind."""
    if isinstance(error, DBAPIError):
        original = error.orig
        return error.connection_invalidated or (
            original is not None and (_has_transient_code(original) or is_database_unavailable(original))
        )
    if isinstance(error, OSError | PoolTimeout | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return _has_transient_code(error)
    # SQLAlchemy wraps what the driver raised once more.
    return error.__cause__ is not None and is_database_unavailable(error.__cause__)


def _has_transient_code(error: BaseException) -> bool:
    code = getattr(error, "sqlstate", None) or ""
    return code.startswith(_TRANSIENT_CLASSES) or code in _TRANSIENT_CODES
