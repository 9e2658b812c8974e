"""Many registrants by few calls, where the grant allows it; whoever is left out goes the single way."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from httpx import Response

from app import facts
from app.core import together
from app.registrations import batch, registrants
from app.simulator import registrants as at_zoom
from tests.living import COMMUNITY, Living
from tests.meetings.house import (
    ADD,
    CARD,
    calls,
    change,
    down,
    faults,
    held_up,
    lost_answer,
    outbox,
    rsvp,
    seen,
    the_meeting,
)
from tests.patience import PATIENCE

BATCH = "addBatchRegistrants"
SCOPE = "meeting:write:batch_registrants:admin"


async def granted(living: Living) -> Any:
    """Ada's account connected, with the scope for batches."""
    scopes = (await living.zoom.get("/simulator/state")).json()["scopes"]
    (await living.zoom.put("/simulator/app", json={"scopes": [*scopes, SCOPE]})).raise_for_status()
    return await living.connect()


async def answered(living: Living, event: dict[str, Any], number: int, **said: Any) -> Response:
    """One of many members is going; nobody waits for what follows."""
    claims = {"sub": f"m-{number}", "email": f"m{number}@members.example", "name": f"Member {number}"} | said
    headers = {"Authorization": f"Bearer {living.platform.token('member', living.clock.now(), **claims)}"}
    return await living.call(
        "member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"}, headers=headers
    )


async def crowded(living: Living, people: int, **wishes: Any) -> Any:
    """An event on Zoom, and so many people registered for it."""
    event = await living.event(**wishes)
    for answer in await asyncio.gather(*(answered(living, event, number) for number in range(people))):
        assert answer.status_code == 200, answer.text
    await living.quiet()
    return event


async def moved_to(living: Living, event: dict[str, Any], email: str) -> dict[str, Any]:
    """The event on another host, and everything come to rest."""
    return await change(living, event, host_id=(await living.hosts())[email]["id"])


async def states(living: Living) -> dict[str, int]:
    """How many records of the meeting that serves the event are in which state."""
    rows = await living.held.db.hot.fetch(
        "SELECT registrants.state, count(*) FROM registrants JOIN meetings ON meetings.id = meeting_id"
        " WHERE meetings.state <> 'retired' GROUP BY 1"
    )
    return {row[0]: row[1] for row in rows}


async def singly(living: Living, since: int) -> list[str]:
    """Who was added by a call of their own, of the journal's entries after so many."""
    return [entry["body"]["email"] for entry in (await living.journal())[since:] if entry["operation"] == ADD]


async def test_an_event_on_another_host_registers_its_people_thirty_by_one_call(living: Living) -> None:
    await granted(living)
    event = await crowded(living, 33)
    before = len(await living.journal())
    await moved_to(living, event, "ben@riverside.example")
    bodies = [call["body"] for call in await calls(living, BATCH)]
    assert [len(body["registrants"]) for body in bodies] == [30, 3]
    assert all(body["auto_approve"] is True for body in bodies)
    assert all(body["registrants_confirmation_email"] is False for body in bodies)
    assert await singly(living, before) == []
    assert await states(living) == {"ready": 33}
    approved = (await the_meeting(living))["registrants"]
    assert {found["status"] for found in approved} == {"approved"}
    assert len(approved) == 33
    assert await outbox(living, "registrations.sync") == []
    assert await outbox(living, "registrations.batch") == []


async def test_everybody_comes_in_by_their_own_link_of_the_batch(living: Living) -> None:
    await granted(living)
    event = await crowded(living, 6)
    await moved_to(living, event, "ben@riverside.example")
    links = {found["email"]: found["join_url"] for found in (await the_meeting(living))["registrants"]}
    rows = await living.held.db.hot.fetch(
        "SELECT registrants.id, registrants.email, registrants.join_url FROM registrants"
        " JOIN meetings ON meetings.id = meeting_id WHERE meetings.state <> 'retired'"
    )
    opened = {row["email"]: living.held.seal.open(row["join_url"], f"registrants.join_url:{row['id']}") for row in rows}
    assert opened == links
    assert len(set(opened.values())) == 6


async def test_without_the_scope_everybody_is_added_one_by_one(living: Living) -> None:
    await living.connect()
    event = await crowded(living, 6)
    before = len(await living.journal())
    await moved_to(living, event, "ben@riverside.example")
    assert await calls(living, BATCH) == []
    assert len(await singly(living, before)) == 6
    assert await states(living) == {"ready": 6}


async def test_a_few_people_are_no_batch(living: Living) -> None:
    await granted(living)
    event = await crowded(living, batch.MANY - 1)
    await moved_to(living, event, "ben@riverside.example")
    assert await calls(living, BATCH) == []
    assert await states(living) == {"ready": batch.MANY - 1}


async def test_hosts_and_who_waits_or_does_not_come_are_in_no_batch(living: Living) -> None:
    await granted(living)
    event = await crowded(living, 6, capacity=7)
    await rsvp(living, event, "coach", email="BEN@riverside.example")
    await rsvp(living, event, "member2")
    await rsvp(living, event, "owner", status="maybe")
    await moved_to(living, event, "ben@riverside.example")
    (call,) = await calls(living, BATCH)
    assert {one["email"] for one in call["body"]["registrants"]} == {
        f"m{number}@members.example" for number in range(6)
    }
    assert (await seen(living, event, "coach"))["my_rsvp"]["registrant"]["state"] == "host"
    assert (await seen(living, event, "member2"))["my_rsvp"]["position"] == 1


async def test_a_host_without_a_licence_gets_no_batch(living: Living) -> None:
    await granted(living)
    event = await crowded(living, 6)
    await moved_to(living, event, "cleo@riverside.example")
    assert await calls(living, BATCH) == []
    assert await states(living) == {"unsupported": 6}


async def test_whom_zoom_leaves_out_of_its_answer_goes_the_single_way(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    await granted(living)
    event = await crowded(living, 6)
    told = at_zoom._batched
    monkeypatch.setattr(at_zoom, "_batched", lambda found: {} if found.email.startswith("m2@") else told(found))
    before = len(await living.journal())
    await moved_to(living, event, "ben@riverside.example")
    assert await singly(living, before) == ["m2@members.example"]
    assert len(await calls(living, BATCH)) == 1
    assert await states(living) == {"ready": 6}


async def test_whom_zoom_leaves_waiting_is_approved_and_not_added_again(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes = (await living.zoom.get("/simulator/state")).json()["scopes"]
    listing = "meeting:read:list_registrants:admin"
    (await living.zoom.put("/simulator/app", json={"scopes": [*scopes, SCOPE, listing]})).raise_for_status()
    await living.connect()
    event = await crowded(living, 6)
    told = at_zoom._person
    monkeypatch.setattr(
        at_zoom, "_person", lambda body: told({**body, "auto_approve": body["email"] != "m2@members.example"})
    )
    before = len(await living.journal())
    await moved_to(living, event, "ben@riverside.example")
    assert await states(living) == {"ready": 5, "pending": 1}
    await living.forward(registrants.LOOK_AGAIN * 1.5)
    await living.quiet()
    assert await states(living) == {"ready": 6}
    assert await singly(living, before) == []


@pytest.mark.parametrize("fault", [down(BATCH, times=1), lost_answer(BATCH)], ids=["down", "lost answer"])
async def test_a_batch_that_fails_leaves_everybody_to_the_single_way(living: Living, fault: dict[str, Any]) -> None:
    await granted(living)
    event = await crowded(living, 6)
    await faults(living, fault)
    before = len(await living.journal())
    await moved_to(living, event, "ben@riverside.example")
    assert len(await calls(living, BATCH)) == 1
    assert sorted(await singly(living, before)) == [f"m{number}@members.example" for number in range(6)]
    assert await states(living) == {"ready": 6}
    assert len((await the_meeting(living))["registrants"]) == 6


async def test_one_address_zoom_refuses_does_not_keep_the_others_out(living: Living) -> None:
    await granted(living)
    event = await crowded(living, 6)
    # Zoom knows a host by an address we do not.
    world = living.simulator.state.simulator.world
    ben = next(user for user in world.accounts[next(iter(world.accounts))].users if user.email.startswith("ben@"))
    host = (await living.hosts())["ben@riverside.example"]["id"]
    ben.email = "m2@members.example"
    assert (await change(living, event, host_id=host))["zoom"]["state"] == "scheduled"
    assert len(await calls(living, BATCH)) == 1
    assert await states(living) == {"ready": 5, "host": 1}


async def test_a_link_of_a_batch_that_is_not_zooms_is_never_stored(living: Living) -> None:
    await granted(living)
    event = await crowded(living, 6)
    living.simulator.state.simulator.base_url = lambda _requested: "https://zoom.us.evil.example"
    await moved_to(living, event, "ben@riverside.example")
    assert await states(living) == {"failed": 6}


async def test_each_address_is_counted_before_the_batch_and_added_by_one_only_once_a_day(living: Living) -> None:
    await granted(living)
    event = await crowded(living, 6)
    await moved_to(living, event, "ben@riverside.example")
    used = await living.held.db.hot.fetch("SELECT used FROM budgets WHERE subject LIKE 'registrant:%'")
    assert [row["used"] for row in used] == [1] * 12, "one at each of the two meetings"
    await living.held.db.hot.execute("DELETE FROM registrants")
    before = len(await living.journal())
    await change(living, event, title="Another evening")
    assert len(await calls(living, BATCH)) == 1
    assert len(await singly(living, before)) == 6
    assert await states(living) == {"ready": 6}


async def test_of_two_members_with_one_address_the_batch_takes_the_one_who_answered_first(living: Living) -> None:
    await granted(living)
    event = await crowded(living, 6)
    await answered(living, event, 99, email="M1@members.example")
    await living.quiet()
    await moved_to(living, event, "ben@riverside.example")
    (call,) = await calls(living, BATCH)
    assert len(call["body"]["registrants"]) == 6
    assert await states(living) == {"ready": 6, "failed": 1}
    assert len((await the_meeting(living))["registrants"]) == 6


async def test_a_name_that_changed_while_zoom_was_slow_is_no_reason_to_add_anybody_twice(living: Living) -> None:
    await granted(living)
    event = await crowded(living, 6)
    before = len(await living.journal())
    host = (await living.hosts())["ben@riverside.example"]["id"]
    async with held_up(living, BATCH):
        assert (await living.patch("admin", f"/api/events/{event['id']}", {"host_id": host})).status_code == 200
        await taken_together(living, 6)
        assert (await answered(living, event, 3, name="Renamed Member")).status_code == 200
        assert (await answered(living, event, 77)).status_code == 200
    await living.quiet()
    assert await singly(living, before) == ["m77@members.example"]
    assert await states(living) == {"ready": 7}


async def taken_together(living: Living, number: int) -> None:
    """Return when so many single rows are held."""
    held = "SELECT count(*) FROM outbox WHERE reaction = 'registrations.sync' AND lease IS NOT NULL"
    async with asyncio.timeout(PATIENCE):
        while await living.held.db.hot.fetchval(held) < number:  # noqa: ASYNC110 - a lease rings for nobody
            await asyncio.sleep(0.01)


async def test_who_stays_away_while_the_batch_adds_them_is_cancelled_after_all(living: Living) -> None:
    await granted(living)
    event = await crowded(living, 6)
    host = (await living.hosts())["ben@riverside.example"]["id"]
    async with held_up(living, BATCH):
        assert (await living.patch("admin", f"/api/events/{event['id']}", {"host_id": host})).status_code == 200
        await taken_together(living, 6)
        path = f"/api/events/{event['id']}/registrations/m-3"
        assert (await living.call("admin", "PUT", path, json={"status": "not_going"})).status_code == 200
    await living.quiet()
    await living.forward(batch.HEAD_START * 4)
    await living.quiet()
    statuses = {found["email"]: found["status"] for found in (await the_meeting(living))["registrants"]}
    assert statuses.pop("m3@members.example") == "cancelled"
    assert set(statuses.values()) == {"approved"}


async def test_rows_taken_together_are_nobody_elses_until_they_are_settled_or_the_hold_is_over(living: Living) -> None:
    event = await living.event(delivery_mode="native")
    for number in range(3):
        await answered(living, event, number)
    await living.quiet()
    ids = [str(row["id"]) for row in await living.held.db.hot.fetch("SELECT id FROM registrations ORDER BY id")]
    database = living.held.db
    async with database.transaction() as tx:
        for registration_id in ids:
            fact = facts.RegistrationChanged(UUID(registration_id), None, COMMUNITY["id"])
            tx.record(fact, at=tx.now + batch.HEAD_START)
    async with database.transaction() as tx:
        first = await together.take(tx, batch.SINGLE, ids, 2, batch.HOLD)
        rest = await together.take(tx, batch.SINGLE, ids, 5, batch.HOLD)
        none = await together.take(tx, batch.SINGLE, ids, 5, batch.HOLD)
    assert (len(first.rows), len(rest.rows), len(none.rows)) == (2, 1, 0)
    changed = next(iter(first.rows))
    async with database.transaction() as tx:
        tx.record(facts.RegistrationChanged(UUID(changed), None, COMMUNITY["id"]))
    async with database.transaction() as tx:
        await together.settle(tx, first, first.rows)
    left = {row["key"]: row["lease"] for row in await outbox(living, batch.SINGLE)}
    assert set(left) <= {changed, *rest.rows}, "what was asked for again meanwhile is not struck"
    assert left[next(iter(rest.rows))] == rest.lease
    await living.held.db.hot.execute(
        "UPDATE outbox SET claimed_until = clock_timestamp(), due_at = $1", living.clock.now()
    )
    await living.quiet()
    assert await outbox(living, batch.SINGLE) == []


async def test_the_scope_may_be_granted_and_missing_is_no_warning(living: Living) -> None:
    await granted(living)
    card = (await living.get("admin", CARD)).json()
    assert card["accounts"][0]["missing_scopes"] == []
