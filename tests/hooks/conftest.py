"""The service alive, with a receiver it may reach."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.demo.mailbox import Mailbox
from tests.hooks.receiver import Receiver, receiving
from tests.living import Living, alive


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    """An endpoint of somebody else's."""
    async with receiving(tmp_path) as receiver:
        yield receiver


@pytest.fixture
async def living(database_url: str, redis_url: str, mailbox: Mailbox, receiver: Receiver) -> AsyncIterator[Living]:
    """The whole service alive; its hooks reach the receiver."""
    async with alive(database_url, redis_url, mailbox, hooks=receiver.hooks) as living:
        yield living
        receiver.released.set()
