"""What Zoom tells of its users has the account read again, and reading is what counts."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.core.outbox import NotNow, Taken
from app.core.work import Work
from app.inbox import tasks
from tests.living import Living
from tests.meetings.house import calls

BEN = "ben@riverside.example"


async def told(living: Living, event: str, account_id: str | None = None, **about: Any) -> None:
    """Zoom says something of a user."""
    accounts = (await living.zoom.get("/simulator/state")).json()["accounts"]
    body = {
        "event": f"user.{event}",
        "account_id": account_id or accounts[0]["id"],
        "payload": {"object": {"id": accounts[0]["users"][1]["id"], "email": BEN} | about},
    }
    (await living.zoom.post("/simulator/notifications", json=body)).raise_for_status()
    await living.quiet()


async def test_a_host_who_is_deactivated_is_offered_no_more_and_comes_back(living: Living) -> None:
    await living.connect()
    for status, kind, offered in (("inactive", "deactivated", False), ("active", "updated", True)):
        (await living.zoom.patch(f"/simulator/users/{BEN}", json={"status": status})).raise_for_status()
        await living.forward(timedelta(minutes=2))
        await told(living, kind)
        assert (BEN in await living.hosts()) is offered


async def test_the_word_alone_takes_nobody_away(living: Living) -> None:
    await living.connect()
    for kind in ("deactivated", "deleted", "disassociated"):
        await living.forward(timedelta(minutes=2))
        await told(living, kind)
    assert BEN in await living.hosts()


async def test_a_licence_that_was_taken_is_known_at_once(living: Living) -> None:
    await living.connect()
    (await living.zoom.patch(f"/simulator/users/{BEN}", json={"type": 1})).raise_for_status()
    await living.forward(timedelta(minutes=2))
    await told(living, "settings_updated", settings={"feature": {}})
    assert (await living.hosts())[BEN]["can_register"] is False


async def test_an_account_is_read_once_for_a_company_that_is_edited(living: Living) -> None:
    await living.connect()
    await living.forward(timedelta(minutes=2))
    before = len(await calls(living, "users"))
    for number in range(8):
        await told(living, "updated", first_name=f"Ben {number}")
    assert len(await calls(living, "users")) == before + 1
    await living.forward(timedelta(minutes=1, seconds=1))
    await living.quiet()
    assert len(await calls(living, "users")) == before + 2


async def test_what_is_told_while_an_account_is_being_read_waits_its_minute_too(living: Living) -> None:
    account = await living.connect()
    await told(living, "updated")
    delivery = await living.held.db.hot.fetchval("SELECT key FROM outbox WHERE reaction = 'accounts.read'")
    assert delivery == account["id"], "it waits for its minute"
    read = "UPDATE outbox SET lease = $1, claimed_until = clock_timestamp() + interval '1 h' WHERE reaction = $2"
    await living.held.db.hot.execute(read, uuid4(), "accounts.read")
    delivery = await living.held.db.hot.fetchval("SELECT id FROM deliveries WHERE kind = 'user.updated'")
    taken = Taken(1, "inbox.note_user", str(delivery), 1, uuid4(), 0, None, None, 100)
    with pytest.raises(NotNow) as put_off:
        await tasks.note_user(Work(taken, living.held, living.held.db, None))
    assert put_off.value.retry_at is not None
    assert put_off.value.retry_at - living.clock.now() > tasks.BETWEEN_READINGS - timedelta(seconds=30)
    await living.held.db.hot.execute("DELETE FROM outbox")


async def test_a_foreign_accounts_users_are_nobodys(living: Living) -> None:
    await living.connect()
    await living.forward(timedelta(minutes=2))
    before = len(await calls(living, "users"))
    await told(living, "updated", account_id="somebody-elses")
    assert len(await calls(living, "users")) == before
    outcomes = await living.held.db.hot.fetch("SELECT outcome FROM deliveries WHERE kind = 'user.updated'")
    assert [row["outcome"] for row in outcomes] == ["foreign"]
