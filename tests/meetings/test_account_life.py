"""An account that comes and goes takes nothing with it: afterwards everything is as it is wanted, and once."""

from tests.living import Living
from tests.meetings.house import (
    ADD,
    CARD,
    CREATE,
    PATCH,
    at_zoom,
    calls,
    cancel,
    change,
    meeting_rows,
    outbox,
    rsvp,
    seen,
    the_meeting,
)


async def test_a_dead_grant_parks_what_is_wanted_and_a_reconnect_lets_it_converge(living: Living) -> None:
    await living.connect()
    event = await living.event()
    gone = {"user": "ada@riverside.example", "notify": False}
    (await living.zoom.post("/simulator/deauthorize", json=gone)).raise_for_status()
    shown = await change(living, event, title="Another evening")
    assert shown["zoom"]["last_error"]["type"] == "needs-reauth"
    assert [row["attempts"] for row in await outbox(living, "meetings.sync")] == [0]
    await rsvp(living, event)
    assert (await seen(living, event, "member"))["my_rsvp"]["registrant"]["state"] == "pending"
    await living.connect()
    shown = await seen(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    assert (await the_meeting(living))["topic"] == "Another evening"
    assert (await seen(living, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"
    assert len(await calls(living, PATCH, succeeded=True)) == 1
    assert len(await calls(living, ADD, succeeded=True)) == 1


async def test_disconnected_and_connected_again_it_is_the_same_meeting(living: Living) -> None:
    account = await living.connect()
    ben = (await living.hosts())["ben@riverside.example"]["id"]
    event = await living.event(alternative_hosts=[ben])
    await rsvp(living, event)
    number = event["zoom"]["meeting_id"]
    (await living.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await living.quiet()
    assert (await seen(living, event))["zoom"]["state"] == "unavailable"
    await living.connect()
    shown = await seen(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["meeting_id"]) == ("scheduled", number)
    assert len(await calls(living, CREATE)) == 1
    assert await calls(living, PATCH) == []
    assert len(await calls(living, ADD)) == 1
    assert (await seen(living, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"


async def test_a_meeting_deleted_inside_zoom_meanwhile_is_no_dead_link_after_the_reconnect(living: Living) -> None:
    account = await living.connect()
    event = await living.event()
    (await living.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await living.quiet()
    (await living.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/delete")).raise_for_status()
    await living.connect()
    assert (await seen(living, event))["zoom"]["state"] == "deleted_at_zoom"


async def test_what_was_cancelled_while_disconnected_is_deleted_after_the_reconnect(living: Living) -> None:
    account = await living.connect()
    event = await living.event()
    (await living.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await living.quiet()
    await cancel(living, event)
    await the_meeting(living)
    await living.connect()
    assert await at_zoom(living) == []
    assert [row["state"] for row in await meeting_rows(living, event)] == ["retired"]
