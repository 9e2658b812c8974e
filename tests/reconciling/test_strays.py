"""What nothing we know of wants is taken away at Zoom, and nothing else is."""

from typing import Any

from app.reconciling import strays
from tests.living import Living
from tests.meetings.house import ADD, at_zoom, calls, faults, grant, later, lost_answer, rsvp, the_meeting

LISTS = ("meeting:read:list_meetings", "meeting:read:list_registrants")


async def forgotten(living: Living, event: dict[str, Any]) -> None:
    """The database knows nothing of an event any more, as if it had been made after the backup."""
    for table in ("registrants", "live_streams", "reservations", "registrations", "meetings", "events"):
        column = {"events": "id", "registrants": "meeting_id"}.get(table, "event_id")
        ids = "SELECT id FROM meetings WHERE event_id = $1::uuid" if table == "registrants" else "SELECT $1::uuid"
        await living.held.db.hot.execute(f"DELETE FROM {table} WHERE {column} IN ({ids})", event["id"])  # noqa: S608 - our own names


async def found(living: Living, number: int, registrant_id: str = "") -> None:
    """A reconciliation found it, and everything came to rest."""
    account_id = await living.held.db.hot.fetchval("SELECT id FROM accounts")
    async with living.held.db.transaction() as tx:
        await strays.found(tx, account_id, number, registrant_id)
    await living.quiet()


async def left(living: Living) -> int:
    """How much is still to be taken away."""
    count: int = await living.held.db.hot.fetchval("SELECT count(*) FROM strays")
    return count


async def test_a_meeting_of_a_lost_event_is_deleted_once_it_does_not_run(living: Living) -> None:
    await living.connect()
    event = await living.event()
    meeting = await the_meeting(living)
    await forgotten(living, event)
    (await living.zoom.post(f"/simulator/meetings/{meeting['id']}/start")).raise_for_status()
    await found(living, meeting["id"])
    assert (len(await at_zoom(living)), await left(living)) == (1, 1)
    (await living.zoom.post(f"/simulator/meetings/{meeting['id']}/end")).raise_for_status()
    await later(living, 15)
    assert (await at_zoom(living), await left(living)) == ([], 0)


async def test_a_meeting_that_is_not_ours_or_serves_an_event_by_now_stays(living: Living) -> None:
    await living.connect()
    event = await living.event()
    meeting = await the_meeting(living)
    await found(living, meeting["id"])
    assert len(await at_zoom(living)) == 1
    await forgotten(living, event)
    for agenda in ("Bring tea.", "kindryn:abcdefghijklmnop\nBring tea."):
        edited = {"agenda": agenda}
        (await living.zoom.post(f"/simulator/meetings/{meeting['id']}/edit", json=edited)).raise_for_status()
        await found(living, meeting["id"])
        assert (len(await at_zoom(living)), await left(living)) == (1, 0)


async def test_a_registrant_without_an_answer_is_cancelled_and_one_with_an_answer_stays(living: Living) -> None:
    await grant(living, *LISTS)
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    meeting = await the_meeting(living)
    (registrant,) = meeting["registrants"]
    await found(living, meeting["id"], registrant["id"])
    assert [each["status"] for each in (await the_meeting(living))["registrants"]] == ["approved"]
    await living.held.db.hot.execute("DELETE FROM registrants")
    await living.held.db.hot.execute("DELETE FROM registrations")
    await found(living, meeting["id"], registrant["id"])
    assert [each["status"] for each in (await the_meeting(living))["registrants"]] == ["cancelled"]
    assert await left(living) == 0


async def test_tokens_in_doubt_are_renewed_before_they_are_used(living: Living) -> None:
    await living.connect()
    before = await living.held.db.hot.fetchval("UPDATE grants SET doubted_at = now() RETURNING generation")
    await living.event()
    after = await living.held.db.hot.fetchrow("SELECT generation, doubted_at FROM grants")
    assert (after["generation"], after["doubted_at"]) == (before + 1, None)


async def test_a_link_in_doubt_is_kept_until_zoom_has_said_otherwise(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await rsvp(living, event)
    await living.held.db.hot.execute("UPDATE registrants SET doubted_at = now()")
    await faults(living, lost_answer(ADD))
    await rsvp(living, event, name="Mia M. Member")
    rows = "SELECT state, join_url IS NOT NULL AS link, doubted_at IS NULL AS sure FROM registrants"
    assert dict(await living.held.db.hot.fetchrow(rows)) == {"state": "pending", "link": True, "sure": False}
    await rsvp(living, event, name="Mia M. Member")
    assert dict(await living.held.db.hot.fetchrow(rows)) == {"state": "ready", "link": True, "sure": True}
    assert len(await calls(living, ADD)) == 3
