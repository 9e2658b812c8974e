"""The communities of a module: set up once on real servers, without running jobs afterwards."""

import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from app.clients.hooks import HookSender
from app.devstack.mailbox import Mailbox
from app.devstack.stack import Stack
from tests.hooks.receiver import FakeResolver
from tests.scenarios.security.fixtures import Communities, set_up_communities
from tests.support.service import run_service


@pytest.fixture(scope="module")
async def module_database_url(stack: Stack, template: str) -> AsyncIterator[str]:
    """A migrated database for the tests of one module."""
    name = f"test_{secrets.token_hex(6)}"
    yield await stack.create_database(name, template)
    await stack.drop_database(name)


@pytest.fixture(scope="module")
async def module_redis_url(stack: Stack, worker_id: str) -> str:
    """An empty Redis database, this worker's own, for the tests of one module."""
    parts = urlsplit(stack.redis_url)
    number = int(parts.path.strip("/") or 0) + int(worker_id.removeprefix("gw").replace("master", "0"))
    url = parts._replace(path=f"/{number}").geturl()
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
    return url


@pytest.fixture(scope="module")
async def communities(
    module_database_url: str, module_redis_url: str, mail_server: Mailbox
) -> AsyncIterator[Communities]:
    """Two communities with events and members. The names of hooks are resolved without DNS."""
    hooks = HookSender(resolve=FakeResolver().resolve)
    async with run_service(module_database_url, module_redis_url, mail_server, worker=False, hooks=hooks) as service:
        yield await set_up_communities(service)
