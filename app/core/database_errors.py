"""Decides whether an error means that the database is unavailable and a later try may succeed."""

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

RETRY_AFTER = 2  # seconds: longer than a process that stopped can keep a lock

# The classes such an error may have; most of their instances are other errors.
POSSIBLE_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    SQLAlchemyError,
)
# SQLSTATE classes (postgresql.org/docs/current/errcodes-appendix.html): connection exceptions, rollbacks (deadlocks),
# lack of resources, operator intervention (a shutdown, a statement that took too long), system errors.
# Single codes: a lock that was not available, a transaction that was idle for too long, a read-only standby.
_TRANSIENT_CLASSES = ("08", "40", "53", "57", "58")
_TRANSIENT_CODES = frozenset({"55P03", "25P03", "25006"})


def is_database_unavailable(error: BaseException) -> bool:
    """Whether this error, or the one it wraps, means that the database is unavailable."""
    if isinstance(error, DBAPIError):
        original = error.orig
        return error.connection_invalidated or (
            original is not None and (_has_transient_code(original) or is_database_unavailable(original))
        )
    if isinstance(error, OSError | PoolTimeout | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return _has_transient_code(error)
    # SQLAlchemy wraps the driver's error in two layers.
    return error.__cause__ is not None and is_database_unavailable(error.__cause__)


def _has_transient_code(error: BaseException) -> bool:
    code = getattr(error, "sqlstate", None) or ""
    return code.startswith(_TRANSIENT_CLASSES) or code in _TRANSIENT_CODES
