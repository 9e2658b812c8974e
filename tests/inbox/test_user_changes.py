"""A notification about a user makes the app read the account; what it reads is what counts."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.core.job_runner import JobContext
from app.core.outbox import ClaimedJob, RetryLater
from app.inbox import tasks
from tests.support.service import RunningService
from tests.support.steps import zoom_calls

BEN = "ben@riverside.example"


async def notify_user_event(service: RunningService, event: str, account_id: str | None = None, **details: Any) -> None:
    """Let the simulator send a notification about a user."""
    accounts = (await service.zoom.get("/simulator/state")).json()["accounts"]
    body = {
        "event": f"user.{event}",
        "account_id": account_id or accounts[0]["id"],
        "payload": {"object": {"id": accounts[0]["users"][1]["id"], "email": BEN} | details},
    }
    (await service.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    await service.wait_idle()


async def test_a_host_who_is_deactivated_is_offered_no_more_and_comes_back(service: RunningService) -> None:
    await service.connect()
    for status, kind, listed in (("inactive", "deactivated", False), ("active", "updated", True)):
        (await service.zoom.patch(f"/simulator/users/{BEN}", json={"status": status})).raise_for_status()
        await service.advance_clock(timedelta(minutes=2))
        await notify_user_event(service, kind)
        assert (BEN in await service.hosts()) is listed


async def test_a_notification_alone_takes_nobody_away(service: RunningService) -> None:
    await service.connect()
    for kind in ("deactivated", "deleted", "disassociated"):
        await service.advance_clock(timedelta(minutes=2))
        await notify_user_event(service, kind)
    assert BEN in await service.hosts()


async def test_a_licence_that_was_taken_is_known_at_once(service: RunningService) -> None:
    await service.connect()
    (await service.zoom.patch(f"/simulator/users/{BEN}", json={"type": 1})).raise_for_status()
    await service.advance_clock(timedelta(minutes=2))
    await notify_user_event(service, "settings_updated", settings={"feature": {}})
    assert (await service.hosts())[BEN]["can_register"] is False


async def test_an_account_is_read_once_for_a_company_that_is_edited(service: RunningService) -> None:
    await service.connect()
    await service.advance_clock(timedelta(minutes=2))
    before = len(await zoom_calls(service, "users"))
    for number in range(8):
        await notify_user_event(service, "updated", first_name=f"Ben {number}")
    assert len(await zoom_calls(service, "users")) == before + 1
    await service.advance_clock(timedelta(minutes=1, seconds=1))
    await service.wait_idle()
    assert len(await zoom_calls(service, "users")) == before + 2


async def test_what_is_told_while_an_account_is_being_read_waits_its_minute_too(service: RunningService) -> None:
    account = await service.connect()
    await notify_user_event(service, "updated")
    delivery = await service.resources.db.pool.fetchval("SELECT key FROM outbox WHERE job = 'accounts.read'")
    assert delivery == account["id"], "it waits for its minute"
    read = "UPDATE outbox SET lease = $1, claimed_until = clock_timestamp() + interval '1 h' WHERE job = $2"
    await service.resources.db.pool.execute(read, uuid4(), "accounts.read")
    delivery = await service.resources.db.pool.fetchval("SELECT id FROM deliveries WHERE kind = 'user.updated'")
    claimed = ClaimedJob(1, "inbox.handle_user_change", str(delivery), 1, uuid4(), 0, None, None, 100)
    with pytest.raises(RetryLater) as caught:
        await tasks.handle_user_change(JobContext(claimed, service.resources, service.resources.db, None))
    assert caught.value.retry_at is not None
    assert caught.value.retry_at - service.clock.now() > tasks.MIN_READ_INTERVAL - timedelta(seconds=30)
    await service.resources.db.pool.execute("DELETE FROM outbox")


async def test_a_foreign_accounts_users_are_nobodys(service: RunningService) -> None:
    await service.connect()
    await service.advance_clock(timedelta(minutes=2))
    before = len(await zoom_calls(service, "users"))
    await notify_user_event(service, "updated", account_id="somebody-elses")
    assert len(await zoom_calls(service, "users")) == before
    outcomes = await service.resources.db.pool.fetch("SELECT outcome FROM deliveries WHERE kind = 'user.updated'")
    assert [row["outcome"] for row in outcomes] == ["foreign"]
