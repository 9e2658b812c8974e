"""PostgreSQL and Redis for all processes of a test run, and a migrated database to copy from."""

import asyncio
import contextlib
import os
import secrets
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

from app.core.database import migrate
from app.devstack.stack import Stack


@dataclass(frozen=True)
class Servers:
    """The URLs of the servers, and the name of a migrated database that others are copied from."""

    database_url: str
    redis_url: str
    template: str


@contextlib.asynccontextmanager
async def start_servers() -> AsyncIterator[Servers]:
    """Run the servers until the block ends. A server that the environment names is used and not started."""
    stack = Stack(
        Path(tempfile.gettempdir()),
        database_url=os.environ.get("DATABASE_URL"),
        redis_url=os.environ.get("REDIS_URL"),
        with_s3=False,
    )
    async with stack:
        template = f"template_{secrets.token_hex(6)}"
        await migrate(await stack.create_database(template))
        yield Servers(stack.database_url, stack.redis_url, template)
        await stack.drop_database(template)


class SharedServers:
    """The servers that the main process of pytest-xdist starts for its workers and stops after them."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._exits = contextlib.AsyncExitStack()
        self._servers: Servers | None = None

    def worker_input(self) -> dict[str, str]:
        """Return the servers as plain values for a worker. The first call starts them."""
        if self._servers is None:
            self._servers = self._runner.run(self._exits.enter_async_context(start_servers()))
        return asdict(self._servers)

    def close(self) -> None:
        """Stop what was started."""
        with self._runner:
            self._runner.run(self._exits.aclose())
