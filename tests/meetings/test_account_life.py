"""An account that is lost and connected again loses nothing: everything converges, and exists once."""

import pytest

from tests.support.service import RunningService
from tests.support.steps import (
    ADD,
    CARD,
    CREATE,
    PATCH,
    cancel,
    change,
    get_event,
    meeting_rows,
    only_meeting,
    outbox,
    rsvp,
    zoom_calls,
    zoom_meetings,
)

pytestmark = pytest.mark.no_snapshots


async def test_a_dead_grant_parks_what_is_wanted_and_a_reconnect_lets_it_converge(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    gone = {"user": "ada@riverside.example", "notify": False}
    (await service.zoom.post("/simulator/deauthorize", json=gone)).raise_for_status()
    shown = await change(service, event, title="Another evening")
    assert shown["zoom"]["last_error"]["type"] == "needs-reauth"
    assert [row["attempts"] for row in await outbox(service, "meetings.sync")] == [0]
    await rsvp(service, event)
    assert (await get_event(service, event, "member"))["my_rsvp"]["registrant"]["state"] == "pending"
    await service.connect()
    shown = await get_event(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    assert (await only_meeting(service))["topic"] == "Another evening"
    assert (await get_event(service, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"
    assert len(await zoom_calls(service, PATCH, succeeded=True)) == 1
    assert len(await zoom_calls(service, ADD, succeeded=True)) == 1


async def test_disconnected_and_connected_again_it_is_the_same_meeting(service: RunningService) -> None:
    account = await service.connect()
    ben = (await service.hosts())["ben@riverside.example"]["id"]
    event = await service.create_event(alternative_hosts=[ben])
    await rsvp(service, event)
    number = event["zoom"]["meeting_id"]
    (await service.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await service.wait_idle()
    assert (await get_event(service, event))["zoom"]["state"] == "unavailable"
    await service.connect()
    shown = await get_event(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["meeting_id"]) == ("scheduled", number)
    assert len(await zoom_calls(service, CREATE)) == 1
    assert await zoom_calls(service, PATCH) == []
    assert len(await zoom_calls(service, ADD)) == 1
    assert (await get_event(service, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"


async def test_a_meeting_deleted_inside_zoom_meanwhile_is_no_dead_link_after_the_reconnect(
    service: RunningService,
) -> None:
    account = await service.connect()
    event = await service.create_event()
    (await service.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await service.wait_idle()
    (await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/delete")).raise_for_status()
    await service.connect()
    assert (await get_event(service, event))["zoom"]["state"] == "deleted_at_zoom"


async def test_what_was_cancelled_while_disconnected_is_deleted_after_the_reconnect(service: RunningService) -> None:
    account = await service.connect()
    event = await service.create_event()
    (await service.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")).raise_for_status()
    await service.wait_idle()
    await cancel(service, event)
    await only_meeting(service)
    await service.connect()
    assert await zoom_meetings(service) == []
    assert [row["state"] for row in await meeting_rows(service, event)] == ["retired"]
