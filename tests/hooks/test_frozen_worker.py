"""A message that one worker delivered stays delivered, whatever a worker that was frozen meanwhile does."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from app.clients.hooks import HookSender, Unreachable
from app.core import outbox
from app.core.job_runner import JobRunner
from app.core.outbox import LeaseLost
from tests.hooks.receiver import Receiver
from tests.hooks.test_hooks import advance, create_hook, list_messages, send_test
from tests.support.service import RunningService


@pytest.mark.parametrize("failure", ["nobody answers", "it is too much", "it is gone", "to be sent only now"])
async def test_a_hook_that_was_delivered_meanwhile_stays_delivered(
    service: RunningService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    send, renew = HookSender.send, JobRunner._renew
    reached, resumed, ended = asyncio.Event(), asyncio.Event(), list[BaseException | None]()
    frozen: list[asyncio.Task[Any] | None] = []

    async def frozen_send(hooks: HookSender, *about: Any) -> int:
        if reached.is_set():
            return await send(hooks, *about)
        frozen.append(asyncio.current_task())
        reached.set()
        await resumed.wait()
        if failure == "nobody answers":
            raise Unreachable("it cannot be connected")
        if failure != "to be sent only now":
            return 410 if failure == "it is gone" else 503
        try:
            return await send(hooks, *about)
        except LeaseLost as lost:
            ended.append(lost)
            raise

    async def frozen_renew(runner: JobRunner[Any], leases: Sequence[Any], patience: float) -> Any:
        await renew(runner, leases, patience)
        return set(leases)  # the renewal is as frozen as the run, so it does not stop the run

    hook = await create_hook(service, receiver.url())
    monkeypatch.setattr(HookSender, "send", frozen_send)
    monkeypatch.setattr(JobRunner, "_renew", frozen_renew)
    message_id = await send_test(service, hook, wait=False)
    await reached.wait()
    await service.resources.db.pool.execute(
        "UPDATE outbox SET claimed_until = clock_timestamp() WHERE lease IS NOT NULL"
    )
    service.resources.pubsub.publish(outbox.TOPIC)
    await service.wait_idle()
    [before] = await list_messages(service, hook)
    assert (before["state"], len(before["attempts"])) == ("delivered", 1)
    resumed.set()
    await asyncio.gather(*filter(None, frozen), return_exceptions=True)
    await advance(service, days=4)
    assert await list_messages(service, hook) == [before]
    assert [message.id for message in receiver.received_on()] == [message_id]
    assert len(ended) == (failure == "to be sent only now")
    shown = (await service.get("admin", f"/api/communities/zoom-reviewer/hooks/{hook['id']}")).json()
    assert shown["enabled"]
