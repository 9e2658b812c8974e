"""What time it is, as a value a process holds, so that tests can move it."""

from datetime import UTC, datetime


class Clock:
    """The wall clock. Leases do not ask it: they measure whether a process lives, in the database's own time."""

    def now(self) -> datetime:
        """Now, aware, in UTC."""
        return datetime.now(UTC)
