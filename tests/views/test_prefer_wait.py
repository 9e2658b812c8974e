"""A caller who prefers to wait gets the result of the change at Zoom, and delays nobody else."""

import asyncio
from datetime import timedelta
from time import perf_counter
from uuid import UUID

import pytest

from app.views import prefer_wait
from app.views.prefer_wait import preferred_wait, until_synced
from tests.support.service import RunningService
from tests.views.conftest import EVENTS, Hosts, create_event, event_body, url, whole_hour

WAIT = {"Prefer": "wait=8"}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("wait=3", 3),
        ("respond-async, wait=3", 3),
        ('return=minimal; foo="wait=4", Wait = "2"; x=1', 2),
        ("wait=0", 0),
        ("wait=86400", 10),
        ("wait=-1", None),
        ("wait=soon", None),
        ("await=3", None),
        ("wait=٣", None),
    ],
)
def test_a_preference_is_read_as_the_rfc_writes_it(header: str | None, seconds: int | None) -> None:
    assert preferred_wait(header) == seconds


async def test_a_waiting_answer_shows_the_meeting_zoom_made_changed_and_deleted(service: RunningService) -> None:
    await service.connect()
    host = (await service.hosts())["ada@riverside.example"]["id"]
    body = event_body(service, delivery_mode="zoom", host_id=host)
    made = await service.post("admin", EVENTS, body, headers=WAIT)
    assert (made.status_code, made.headers["Preference-Applied"]) == (201, "wait=8")
    event = made.json()
    assert (event["zoom"]["state"], event["zoom"]["protected"], event["zoom"]["differences"]) == ("scheduled", True, [])
    assert event["zoom"]["meeting_id"].isdigit()
    assert made.headers["Location"] == url(event)
    assert (await service.get("admin", url(event))).headers["ETag"] == made.headers["ETag"]

    renamed = await service.patch("admin", url(event), {"title": "Square"}, headers=WAIT)
    assert (renamed.json()["title"], renamed.json()["zoom"]["state"]) == ("Square", "scheduled")
    meetings = str((await service.zoom.get("/simulator/state")).json()["meetings"])
    assert "Square" in meetings

    asked = await service.post("admin", f"{url(event)}/zoom/sync", {"on_unknown": "wait"}, headers=WAIT)
    assert (asked.status_code, asked.json()["zoom"]["state"]) == (202, "scheduled")

    cancelled = await service.post("admin", f"{url(event)}/cancel", headers=WAIT)
    assert (cancelled.json()["status"], cancelled.json()["zoom"]) == ("cancelled", None)
    assert any(entry["method"] == "DELETE" for entry in await service.journal())
    again = await service.post("admin", f"{url(event)}/zoom/sync")
    assert (again.status_code, again.json()["type"].rsplit("/", 1)[1]) == (409, "not-on-zoom")


async def test_taken_to_native_and_back_the_event_has_a_meeting_of_its_own_again(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    native = await service.patch("admin", url(event), {"delivery_mode": "native"}, headers=WAIT)
    assert (native.json()["zoom"], native.json()["host_id"]) == (None, None)
    back = {"delivery_mode": "zoom", "host_id": event["host_id"]}
    zoom = (await service.patch("admin", url(event), back, headers=WAIT)).json()["zoom"]
    assert (zoom["state"], zoom["meeting_id"] != event["zoom"]["meeting_id"]) == ("scheduled", True)


async def test_meeting_settings_of_a_space_reach_its_meetings_at_zoom(service: RunningService) -> None:
    await service.connect()
    spaces = EVENTS.replace("/events", "/spaces")
    space = (await service.post("admin", spaces, {"name": "Circles"})).json()
    event = await service.create_event(space_id=space["id"])
    await service.patch("admin", f"{spaces}/{space['id']}", {"settings": {"mute_upon_entry": True}})
    await service.wait_idle()
    calls = [entry for entry in await service.journal() if entry["method"] == "PATCH"]
    assert [call["path"] for call in calls] == [f"/v2/meetings/{event['zoom']['meeting_id']}"]
    assert "mute_upon_entry" in str(calls[0]["body"])


async def test_who_waits_in_vain_is_answered_when_the_time_is_over(idle: RunningService, hosts: Hosts) -> None:
    began = perf_counter()
    body = event_body(idle, delivery_mode="zoom", host_id=hosts.rosa)
    made = await idle.post("admin", EVENTS, body, headers={"Prefer": "wait=1"})
    assert perf_counter() - began >= 1
    assert (made.status_code, made.json()["zoom"]["state"]) == (201, "pending")


async def test_any_number_may_wait_without_holding_up_who_does_not(
    idle: RunningService, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefer_wait, "MAX_WAIT_SECONDS", 60)
    made = await create_event(idle, delivery_mode="zoom", host_id=hosts.rosa)
    patches = [
        asyncio.create_task(idle.patch("admin", url(made), {"title": f"Circle {n}"}, headers={"Prefer": "wait=60"}))
        for n in range(30)
    ]
    while (await idle.get("admin", url(made))).headers["ETag"] != '"31"':
        assert not any(task.done() for task in patches)
    assert (await idle.get("member", url(made))).status_code == 200
    assert not any(task.done() for task in patches)
    await idle.resources.db.pool.execute("DELETE FROM outbox")
    assert {answer.status_code for answer in await asyncio.gather(*patches)} == {200}


async def test_the_wait_ends_with_the_notification_and_even_without_it(idle: RunningService, hosts: Hosts) -> None:
    made = await create_event(idle, delivery_mode="zoom", host_id=hosts.rosa)
    event_id = UUID(made["id"])
    waiter = asyncio.create_task(until_synced(idle.resources, event_id, 8))
    assert not await until_synced(idle.resources, event_id, 0)
    await idle.resources.db.pool.execute("DELETE FROM outbox WHERE job = 'meetings.sync'")
    assert await waiter
    assert await until_synced(idle.resources, event_id, 0)


async def test_work_that_was_given_up_is_not_waited_for_and_shown_as_failed(idle: RunningService, hosts: Hosts) -> None:
    made = await create_event(idle, delivery_mode="zoom", host_id=hosts.rosa)
    await idle.resources.db.pool.execute(
        "UPDATE outbox SET reason = 'RetryLater: no answer' WHERE job = 'meetings.sync'"
    )
    waits = (await idle.get("admin", url(made))).json()["zoom"]
    assert (waits["state"], waits["last_error"]["type"]) == ("pending", "sync-waits")
    assert waits["last_error"]["retry_at"] is not None
    await idle.resources.db.pool.execute("UPDATE outbox SET dead_at = now() WHERE job = 'meetings.sync'")
    assert await until_synced(idle.resources, UUID(made["id"]), 5)
    failed = (await idle.get("admin", url(made))).json()["zoom"]
    assert (failed["state"], failed["last_error"]["type"]) == ("failed", "sync-given-up")
    assert failed["last_error"]["retry_at"] is None


async def test_a_disconnected_account_leaves_the_meeting_unavailable_and_join_says_so(service: RunningService) -> None:
    account = await service.connect()
    event = await service.create_event(
        starts_at=whole_hour(service, days=2).isoformat(), ends_at=whole_hour(service, days=2, hours=1).isoformat()
    )
    await service.call("member", "PUT", f"{url(event)}/rsvp", json={"status": "going"})
    await service.wait_idle()
    base = EVENTS.replace("/events", "/integrations/zoom/accounts")
    assert (await service.call("admin", "DELETE", f"{base}/{account['id']}")).status_code == 204
    shown = (await service.get("admin", url(event))).json()
    assert shown["zoom"]["state"] == "unavailable"
    assert (await service.get("member", url(event))).json()["join"]["reason"] == "meeting-unavailable"


async def test_at_the_hour_the_event_and_join_both_let_the_member_in(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await service.call("member", "PUT", f"{url(event)}/rsvp", json={"status": "going"})
    await service.wait_idle()
    await service.advance_clock(timedelta(days=1))
    shown = (await service.get("member", url(event))).json()
    assert shown["join"]["allowed"], shown["join"]
    assert (shown["join"]["reason"], shown["my_rsvp"]["registrant"]["state"]) == (None, "ready")
    assert "zoom.us" not in str(shown)
    assert "/w/" not in str(shown)
    assert (await service.post("member", f"{url(event)}/zoom-join")).status_code == 200
