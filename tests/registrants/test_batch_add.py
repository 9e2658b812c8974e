"""Many registrants with few calls, if the grant allows it. Everybody left out is registered singly."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from app import facts
from app.core import batching
from app.registrants import batch_add, sync
from app.simulator import registrants as simulated_registrants
from tests.support.registrant_steps import BATCH, SCOPE
from tests.support.registration_steps import put_numbered_rsvp
from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import (
    ADD,
    CARD,
    change,
    delayed,
    get_event,
    lost_answer,
    only_meeting,
    outbox,
    rsvp,
    service_down,
    set_faults,
    zoom_calls,
)
from tests.support.timeouts import TIMEOUT


async def connect_with_batch_scope(service: RunningService) -> Any:
    """Connect Ada's account with the scope for batches."""
    scopes = (await service.zoom.get("/simulator/state")).json()["scopes"]
    (await service.zoom.put("/simulator/app", json={"scopes": [*scopes, SCOPE]})).raise_for_status()
    return await service.connect()


async def event_with_attendees(service: RunningService, people: int, **fields: Any) -> Any:
    """Create an event on Zoom and register this many people."""
    event = await service.create_event(**fields)
    for response in await asyncio.gather(*(put_numbered_rsvp(service, event, number) for number in range(people))):
        assert response.status_code == 200, response.text
    await service.wait_idle()
    return event


async def move_to_host(service: RunningService, event: dict[str, Any], email: str) -> dict[str, Any]:
    """Move the event to another host and wait until the service is idle."""
    return await change(service, event, host_id=(await service.hosts())[email]["id"])


async def registrant_states(service: RunningService) -> dict[str, int]:
    """Return how many registrants at the event's present meeting are in each state."""
    rows = await service.resources.db.pool.fetch(
        "SELECT registrants.state, count(*) FROM registrants JOIN meetings ON meetings.id = meeting_id"
        " WHERE meetings.state <> 'retired' GROUP BY 1"
    )
    return {row[0]: row[1] for row in rows}


async def single_adds(service: RunningService, since: int) -> list[str]:
    """Return the addresses that were added singly, in the journal's entries from `since` on."""
    return [entry["body"]["email"] for entry in (await service.journal())[since:] if entry["operation"] == ADD]


async def test_an_event_on_another_host_registers_its_people_thirty_by_one_call(service: RunningService) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 33)
    before = len(await service.journal())
    await move_to_host(service, event, "ben@riverside.example")
    bodies = [call["body"] for call in await zoom_calls(service, BATCH)]
    assert [len(body["registrants"]) for body in bodies] == [30, 3]
    assert all(body["auto_approve"] is True for body in bodies)
    assert all(body["registrants_confirmation_email"] is False for body in bodies)
    assert await single_adds(service, before) == []
    assert await registrant_states(service) == {"ready": 33}
    approved = (await only_meeting(service))["registrants"]
    assert {found["status"] for found in approved} == {"approved"}
    assert len(approved) == 33
    assert await outbox(service, "registrants.sync") == []
    assert await outbox(service, "registrants.add_batch") == []


async def test_everybody_comes_in_by_their_own_link_of_the_batch(service: RunningService) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 6)
    await move_to_host(service, event, "ben@riverside.example")
    links = {found["email"]: found["join_url"] for found in (await only_meeting(service))["registrants"]}
    rows = await service.resources.db.pool.fetch(
        "SELECT registrants.id, registrants.email, registrants.join_url FROM registrants"
        " JOIN meetings ON meetings.id = meeting_id WHERE meetings.state <> 'retired'"
    )
    opened = {
        row["email"]: service.resources.encryption.decrypt(row["join_url"], f"registrants.join_url:{row['id']}")
        for row in rows
    }
    assert opened == links
    assert len(set(opened.values())) == 6


async def test_without_the_scope_everybody_is_added_one_by_one(service: RunningService) -> None:
    await service.connect()
    event = await event_with_attendees(service, 6)
    before = len(await service.journal())
    await move_to_host(service, event, "ben@riverside.example")
    assert await zoom_calls(service, BATCH) == []
    assert len(await single_adds(service, before)) == 6
    assert await registrant_states(service) == {"ready": 6}


async def test_a_few_people_are_no_batch(service: RunningService) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, batch_add.MIN_BATCH - 1)
    await move_to_host(service, event, "ben@riverside.example")
    assert await zoom_calls(service, BATCH) == []
    assert await registrant_states(service) == {"ready": batch_add.MIN_BATCH - 1}


async def test_hosts_and_who_waits_or_does_not_come_are_in_no_batch(service: RunningService) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 6, capacity=7)
    await rsvp(service, event, "coach", email="BEN@riverside.example")
    await rsvp(service, event, "member2")
    await rsvp(service, event, "owner", status="maybe")
    await move_to_host(service, event, "ben@riverside.example")
    (call,) = await zoom_calls(service, BATCH)
    assert {one["email"] for one in call["body"]["registrants"]} == {
        f"m{number}@members.example" for number in range(6)
    }
    assert (await get_event(service, event, "coach"))["my_rsvp"]["registrant"]["state"] == "host"
    assert (await get_event(service, event, "member2"))["my_rsvp"]["position"] == 1


async def test_a_host_without_a_licence_gets_no_batch(service: RunningService) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 6)
    await move_to_host(service, event, "cleo@riverside.example")
    assert await zoom_calls(service, BATCH) == []
    assert await registrant_states(service) == {"unsupported": 6}


async def test_whom_zoom_leaves_out_of_its_answer_goes_the_single_way(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 6)
    original = simulated_registrants._batch_item
    monkeypatch.setattr(
        simulated_registrants, "_batch_item", lambda found: {} if found.email.startswith("m2@") else original(found)
    )
    before = len(await service.journal())
    await move_to_host(service, event, "ben@riverside.example")
    assert await single_adds(service, before) == ["m2@members.example"]
    assert len(await zoom_calls(service, BATCH)) == 1
    assert await registrant_states(service) == {"ready": 6}


async def test_whom_zoom_leaves_waiting_is_approved_and_not_added_again(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes = (await service.zoom.get("/simulator/state")).json()["scopes"]
    listing = "meeting:read:list_registrants:admin"
    (await service.zoom.put("/simulator/app", json={"scopes": [*scopes, SCOPE, listing]})).raise_for_status()
    await service.connect()
    event = await event_with_attendees(service, 6)
    original = simulated_registrants._person
    monkeypatch.setattr(
        simulated_registrants,
        "_person",
        lambda body: original({**body, "auto_approve": body["email"] != "m2@members.example"}),
    )
    before = len(await service.journal())
    await move_to_host(service, event, "ben@riverside.example")
    assert await registrant_states(service) == {"ready": 5, "pending": 1}
    await service.advance_clock(sync.RETRY_SOON * 1.5)
    await service.wait_idle()
    assert await registrant_states(service) == {"ready": 6}
    assert await single_adds(service, before) == []


@pytest.mark.parametrize("fault", [service_down(BATCH, times=1), lost_answer(BATCH)], ids=["down", "lost answer"])
async def test_a_batch_that_fails_leaves_everybody_to_the_single_way(
    service: RunningService, fault: dict[str, Any]
) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 6)
    await set_faults(service, fault)
    before = len(await service.journal())
    await move_to_host(service, event, "ben@riverside.example")
    assert len(await zoom_calls(service, BATCH)) == 1
    assert sorted(await single_adds(service, before)) == [f"m{number}@members.example" for number in range(6)]
    assert await registrant_states(service) == {"ready": 6}
    assert len((await only_meeting(service))["registrants"]) == 6


async def test_one_address_zoom_refuses_does_not_keep_the_others_out(service: RunningService) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 6)
    # Zoom knows a host by an address we do not.
    zoom_state = service.simulator.state.simulator.state
    ben = next(
        user for user in zoom_state.accounts[next(iter(zoom_state.accounts))].users if user.email.startswith("ben@")
    )
    host = (await service.hosts())["ben@riverside.example"]["id"]
    ben.email = "m2@members.example"
    assert (await change(service, event, host_id=host))["zoom"]["state"] == "scheduled"
    assert len(await zoom_calls(service, BATCH)) == 1
    assert await registrant_states(service) == {"ready": 5, "host": 1}


async def test_a_link_of_a_batch_that_is_not_zooms_is_never_stored(service: RunningService) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 6)
    service.simulator.state.simulator.base_url = lambda _requested: "https://zoom.us.evil.example"
    await move_to_host(service, event, "ben@riverside.example")
    assert await registrant_states(service) == {"failed": 6}


async def test_each_address_is_counted_before_the_batch_and_added_by_one_only_once_a_day(
    service: RunningService,
) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 6)
    await move_to_host(service, event, "ben@riverside.example")
    used = await service.resources.db.pool.fetch("SELECT used FROM quota_usage WHERE key LIKE 'registrant:%'")
    assert [row["used"] for row in used] == [1] * 12, "one at each of the two meetings"
    await service.resources.db.pool.execute("DELETE FROM registrants")
    before = len(await service.journal())
    await change(service, event, title="Another evening")
    assert len(await zoom_calls(service, BATCH)) == 1
    assert len(await single_adds(service, before)) == 6
    assert await registrant_states(service) == {"ready": 6}


async def test_of_two_members_with_one_address_the_batch_takes_the_one_who_answered_first(
    service: RunningService,
) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 6)
    await put_numbered_rsvp(service, event, 99, email="M1@members.example")
    await service.wait_idle()
    await move_to_host(service, event, "ben@riverside.example")
    (call,) = await zoom_calls(service, BATCH)
    assert len(call["body"]["registrants"]) == 6
    assert await registrant_states(service) == {"ready": 6, "failed": 1}
    assert len((await only_meeting(service))["registrants"]) == 6


async def test_a_name_that_changed_while_zoom_was_slow_is_no_reason_to_add_anybody_twice(
    service: RunningService,
) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 6)
    before = len(await service.journal())
    host = (await service.hosts())["ben@riverside.example"]["id"]
    async with delayed(service, BATCH):
        assert (await service.patch("admin", f"/api/events/{event['id']}", {"host_id": host})).status_code == 200
        await wait_until_claimed(service, 6)
        assert (await put_numbered_rsvp(service, event, 3, name="Renamed Member")).status_code == 200
        assert (await put_numbered_rsvp(service, event, 77)).status_code == 200
    await service.wait_idle()
    assert await single_adds(service, before) == ["m77@members.example"]
    assert await registrant_states(service) == {"ready": 7}


async def wait_until_claimed(service: RunningService, number: int) -> None:
    """Wait until this many single rows are claimed."""
    query = "SELECT count(*) FROM outbox WHERE job = 'registrants.sync' AND lease IS NOT NULL"
    async with asyncio.timeout(TIMEOUT):
        while await service.resources.db.pool.fetchval(query) < number:  # noqa: ASYNC110 - a lease rings for nobody
            await asyncio.sleep(0.01)


async def test_who_stays_away_while_the_batch_adds_them_is_cancelled_after_all(service: RunningService) -> None:
    await connect_with_batch_scope(service)
    event = await event_with_attendees(service, 6)
    host = (await service.hosts())["ben@riverside.example"]["id"]
    async with delayed(service, BATCH):
        assert (await service.patch("admin", f"/api/events/{event['id']}", {"host_id": host})).status_code == 200
        await wait_until_claimed(service, 6)
        path = f"/api/events/{event['id']}/registrations/m-3"
        assert (await service.call("admin", "PUT", path, json={"status": "not_going"})).status_code == 200
    await service.wait_idle()
    await service.advance_clock(batch_add.SINGLE_JOB_DELAY * 4)
    await service.wait_idle()
    statuses = {found["email"]: found["status"] for found in (await only_meeting(service))["registrants"]}
    assert statuses.pop("m3@members.example") == "cancelled"
    assert set(statuses.values()) == {"approved"}


async def test_rows_taken_together_are_nobody_elses_until_they_are_settled_or_the_hold_is_over(
    service: RunningService,
) -> None:
    event = await service.create_event(delivery_mode="native")
    for number in range(3):
        await put_numbered_rsvp(service, event, number)
    await service.wait_idle()
    ids = [str(row["id"]) for row in await service.resources.db.pool.fetch("SELECT id FROM registrations ORDER BY id")]
    database = service.resources.db
    async with database.transaction() as tx:
        for registration_id in ids:
            fact = facts.RegistrationChanged(UUID(registration_id), None, COMMUNITY["id"])
            tx.record(fact, at=tx.now + batch_add.SINGLE_JOB_DELAY)
    async with database.transaction() as tx:
        first = await batching.claim_batch(tx, batch_add.SINGLE_JOB, ids, 2, batch_add.LEASE)
        rest = await batching.claim_batch(tx, batch_add.SINGLE_JOB, ids, 5, batch_add.LEASE)
        none = await batching.claim_batch(tx, batch_add.SINGLE_JOB, ids, 5, batch_add.LEASE)
    assert (len(first.rows), len(rest.rows), len(none.rows)) == (2, 1, 0)
    changed = next(iter(first.rows))
    async with database.transaction() as tx:
        tx.record(facts.RegistrationChanged(UUID(changed), None, COMMUNITY["id"]))
    async with database.transaction() as tx:
        await batching.finish_batch(tx, first, first.rows)
    left = {row["key"]: row["lease"] for row in await outbox(service, batch_add.SINGLE_JOB)}
    assert set(left) <= {changed, *rest.rows}, "what was asked for again meanwhile is not struck"
    assert left[next(iter(rest.rows))] == rest.lease
    await service.resources.db.pool.execute(
        "UPDATE outbox SET claimed_until = clock_timestamp(), due_at = $1", service.clock.now()
    )
    await service.wait_idle()
    assert await outbox(service, batch_add.SINGLE_JOB) == []


async def test_the_scope_may_be_granted_and_missing_is_no_warning(service: RunningService) -> None:
    await connect_with_batch_scope(service)
    card = (await service.get("admin", CARD)).json()
    assert card["accounts"][0]["missing_scopes"] == []
