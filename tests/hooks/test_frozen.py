"""A message that one worker has delivered stays delivered, whatever another finds out that was frozen meanwhile."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from app.clients.hooks import Hooks, Unreachable
from app.core import outbox
from app.core.outbox import LeaseLost
from app.core.work import Runner
from tests.hooks.receiver import Receiver
from tests.hooks.test_hooks import later, listed, made, tried
from tests.living import Living


@pytest.mark.parametrize("found_out", ["nobody answers", "it is too much", "it is gone", "to be sent only now"])
async def test_a_hook_that_was_delivered_meanwhile_stays_delivered(
    living: Living, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, found_out: str
) -> None:
    send, renew = Hooks.send, Runner._renew
    came, thawed, ended = asyncio.Event(), asyncio.Event(), list[BaseException | None]()
    frozen: list[asyncio.Task[Any] | None] = []

    async def sending(hooks: Hooks, *about: Any) -> int:
        if came.is_set():
            return await send(hooks, *about)
        frozen.append(asyncio.current_task())
        came.set()
        await thawed.wait()
        if found_out == "nobody answers":
            raise Unreachable("it cannot be connected")
        if found_out != "to be sent only now":
            return 410 if found_out == "it is gone" else 503
        try:
            return await send(hooks, *about)
        except LeaseLost as lost:
            ended.append(lost)
            raise

    async def renewing(runner: Runner[Any], leases: Sequence[Any], patience: float) -> Any:
        await renew(runner, leases, patience)
        return set(leases)  # who renews leases is as frozen as the run, and does not stop it

    hook = await made(living, receiver.url())
    monkeypatch.setattr(Hooks, "send", sending)
    monkeypatch.setattr(Runner, "_renew", renewing)
    message_id = await tried(living, hook, settled=False)
    await came.wait()
    await living.held.db.hot.execute("UPDATE outbox SET claimed_until = clock_timestamp() WHERE lease IS NOT NULL")
    living.held.bell.ring(outbox.TOPIC)
    await living.quiet()
    [before] = await listed(living, hook)
    assert (before["state"], len(before["attempts"])) == ("delivered", 1)
    thawed.set()
    await asyncio.gather(*filter(None, frozen), return_exceptions=True)
    await later(living, days=4)
    assert await listed(living, hook) == [before]
    assert [got.id for got in receiver.of()] == [message_id]
    assert len(ended) == (found_out == "to be sent only now")
    shown = (await living.get("admin", f"/api/communities/zoom-reviewer/hooks/{hook['id']}")).json()
    assert shown["enabled"]
