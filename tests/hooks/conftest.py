"""The running service, with a receiver that its hooks may reach."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.devstack.mailbox import Mailbox
from tests.hooks.receiver import Receiver, run_receiver
from tests.support.service import RunningService, run_service


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    """An endpoint of another party."""
    async with run_receiver(tmp_path) as receiver:
        yield receiver


@pytest.fixture
async def service(
    database_url: str, redis_url: str, mailbox: Mailbox, receiver: Receiver
) -> AsyncIterator[RunningService]:
    """The whole running service; its hooks reach the receiver."""
    async with run_service(database_url, redis_url, mailbox, hooks=receiver.hooks) as running:
        yield running
        receiver.slow_release.set()
