"""Meetings and registrants that nothing needs are removed from Zoom, and nothing else is."""

from typing import Any

from app.reconciling import strays
from tests.support.service import RunningService
from tests.support.steps import (
    ADD,
    advance,
    grant,
    lost_answer,
    only_meeting,
    rsvp,
    set_faults,
    zoom_calls,
    zoom_meetings,
)

LISTS = ("meeting:read:list_meetings", "meeting:read:list_registrants")


async def forget_event(service: RunningService, event: dict[str, Any]) -> None:
    """Delete an event and all its rows, as if it had been created after the backup."""
    for table in ("registrants", "live_streams", "reservations", "registrations", "meetings", "events"):
        column = {"events": "id", "registrants": "meeting_id"}.get(table, "event_id")
        ids = "SELECT id FROM meetings WHERE event_id = $1::uuid" if table == "registrants" else "SELECT $1::uuid"
        await service.resources.db.pool.execute(f"DELETE FROM {table} WHERE {column} IN ({ids})", event["id"])  # noqa: S608 - our own names


async def report_stray(service: RunningService, number: int, registrant_id: str = "") -> None:
    """Store a stray as a reconciliation does, and wait until no job is due."""
    account_id = await service.resources.db.pool.fetchval("SELECT id FROM accounts")
    async with service.resources.db.transaction() as tx:
        await strays.store(tx, account_id, number, registrant_id)
    await service.wait_idle()


async def stray_count(service: RunningService) -> int:
    """Return how many strays are still to be removed."""
    count: int = await service.resources.db.pool.fetchval("SELECT count(*) FROM strays")
    return count


async def test_a_meeting_of_a_lost_event_is_deleted_once_it_does_not_run(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    meeting = await only_meeting(service)
    await forget_event(service, event)
    (await service.zoom.post(f"/simulator/meetings/{meeting['id']}/start")).raise_for_status()
    await report_stray(service, meeting["id"])
    assert (len(await zoom_meetings(service)), await stray_count(service)) == (1, 1)
    (await service.zoom.post(f"/simulator/meetings/{meeting['id']}/end")).raise_for_status()
    await advance(service, 15)
    assert (await zoom_meetings(service), await stray_count(service)) == ([], 0)


async def test_a_meeting_that_is_not_ours_or_serves_an_event_by_now_stays(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    meeting = await only_meeting(service)
    await report_stray(service, meeting["id"])
    assert len(await zoom_meetings(service)) == 1
    await forget_event(service, event)
    for agenda in ("Bring tea.", "kindryn:abcdefghijklmnop\nBring tea."):
        edited = {"agenda": agenda}
        (await service.zoom.post(f"/simulator/meetings/{meeting['id']}/edit", json=edited)).raise_for_status()
        await report_stray(service, meeting["id"])
        assert (len(await zoom_meetings(service)), await stray_count(service)) == (1, 0)


async def test_a_registrant_without_an_answer_is_cancelled_and_one_with_an_answer_stays(
    service: RunningService,
) -> None:
    await grant(service, *LISTS)
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    meeting = await only_meeting(service)
    (registrant,) = meeting["registrants"]
    await report_stray(service, meeting["id"], registrant["id"])
    assert [each["status"] for each in (await only_meeting(service))["registrants"]] == ["approved"]
    await service.resources.db.pool.execute("DELETE FROM registrants")
    await service.resources.db.pool.execute("DELETE FROM registrations")
    await report_stray(service, meeting["id"], registrant["id"])
    assert [each["status"] for each in (await only_meeting(service))["registrants"]] == ["cancelled"]
    assert await stray_count(service) == 0


async def test_tokens_in_doubt_are_renewed_before_they_are_used(service: RunningService) -> None:
    await service.connect()
    before = await service.resources.db.pool.fetchval("UPDATE grants SET stale_since = now() RETURNING generation")
    await service.create_event()
    after = await service.resources.db.pool.fetchrow("SELECT generation, stale_since FROM grants")
    assert (after["generation"], after["stale_since"]) == (before + 1, None)


async def test_a_link_in_doubt_is_kept_until_zoom_has_said_otherwise(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    await service.resources.db.pool.execute("UPDATE registrants SET stale_since = now()")
    await set_faults(service, lost_answer(ADD))
    await rsvp(service, event, name="Mia M. Member")
    rows = "SELECT state, join_url IS NOT NULL AS link, stale_since IS NULL AS fresh FROM registrants"
    assert dict(await service.resources.db.pool.fetchrow(rows)) == {"state": "pending", "link": True, "fresh": False}
    await rsvp(service, event, name="Mia M. Member")
    assert dict(await service.resources.db.pool.fetchrow(rows)) == {"state": "ready", "link": True, "fresh": True}
    assert len(await zoom_calls(service, ADD)) == 3
