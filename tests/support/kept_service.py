"""Services that are kept from one test to the next, because starting one takes longer than most tests."""

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from app.devstack.mailbox import Mailbox
from tests.support.reusable_service import NotReusable, ReusableService, open_service
from tests.support.timeouts import RELAXED_LIMITS

log = logging.getLogger("tests.kept_service")


@dataclass
class ServiceSlot:
    """A reused database's place for a service, which may be empty."""

    service: ReusableService | None = None
    servers: tuple[str, ...] = ()
    in_use: bool = False
    exits: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def close(self) -> None:
        """Close the service."""
        self.service = None
        await self.exits.aclose()


SLOTS: dict[str, ServiceSlot] = {}
"""Slots by the URL of their database. The pool of databases adds and removes them."""


@contextlib.asynccontextmanager
async def use_once(
    opening: contextlib.AbstractAsyncContextManager[ReusableService],
) -> AsyncIterator[ReusableService]:
    """Open a service for one use. It closes afterwards, so it does not matter what the use leaves behind."""
    async with opening as service:
        with contextlib.suppress(NotReusable):
            yield service


@contextlib.asynccontextmanager
async def borrow_service(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[ReusableService]:
    """Yield the service of a database for one use. Opens it if there is none.

    A service that is in use is left alone: the caller gets a service of its own, as it does on a database that is not
    reused. A service that the use leaves changed is closed.
    """
    slot = SLOTS.get(database_url)
    if slot is None or slot.in_use:
        async with use_once(open_service(database_url, redis_url, mailbox, RELAXED_LIMITS)) as service:
            yield service
        return
    servers = (redis_url, mailbox.url)
    if slot.servers != servers:
        await slot.close()
    if slot.service is None:
        opening = open_service(database_url, redis_url, mailbox, RELAXED_LIMITS)
        slot.service = await slot.exits.enter_async_context(opening)
        slot.servers = servers
    slot.in_use = True
    try:
        yield slot.service
    except NotReusable as reason:
        log.warning("the service is not used again: %s", reason)
        await slot.close()
    except BaseException:
        await slot.close()
        raise
    finally:
        slot.in_use = False
