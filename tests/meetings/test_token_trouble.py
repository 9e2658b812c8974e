"""A refused token never fails a meeting or a registrant, and every new request is tried."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import (
    ADD,
    CARD,
    CREATE,
    advance,
    get_event,
    only_meeting,
    outbox,
    rsvp,
    set_faults,
    sync,
    zoom_calls,
)

pytestmark = pytest.mark.no_snapshots

LOCKED = {"reason": "User is locked", "error": "unknown_error"}
CATCH_ALL = {"code": 4700, "message": "Exception message"}
DISABLED = {"code": 4717, "message": "The app has been disabled."}


def refused(body: dict[str, Any], times: int | None = 1, operation: str = "oauthRefresh") -> dict[str, Any]:
    """Return a fault: the call gets this body with status 400."""
    return {"kind": "status", "operation": operation, "status": 400, "body": body, "times": times}


async def tokens_run_out(service: RunningService) -> None:
    """Let the access token expire, so that the next call needs a new one."""
    await service.advance_clock(timedelta(minutes=58))


async def card(service: RunningService) -> Any:
    """Return the account as the admin sees it."""
    return (await service.get("admin", CARD)).json()["accounts"][0]


async def registrant(service: RunningService, event: dict[str, Any], who: str = "member") -> Any:
    """Return somebody's registrant as the list of registrations shows it."""
    listed = (await service.get("admin", f"/api/events/{event['id']}/registrations")).json()["items"]
    return next(row["registrant"] for row in listed if row["member_id"] == f"m-{who}")


async def dead(service: RunningService) -> int:
    """Return how many outbox rows are dead."""
    found: int = await service.resources.db.pool.fetchval("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL")
    return found


@pytest.mark.parametrize("body", [LOCKED, CATCH_ALL])
async def test_a_registration_outlives_a_refusal_of_the_token(service: RunningService, body: dict[str, Any]) -> None:
    await service.connect()
    event = await service.create_event()
    await tokens_run_out(service)
    await set_faults(service, refused(body, times=None))
    await rsvp(service, event)
    registrant_row = await registrant(service, event)
    assert registrant_row["state"] == "pending"
    assert "tried again by itself" in registrant_row["reason"]
    shown = await card(service)
    assert (shown["status"], shown["last_error"]["type"]) == ("connected", "token-refused")
    assert await dead(service) == 0
    await set_faults(service)
    await advance(service)
    assert (await registrant(service, event))["state"] == "ready"
    assert (await card(service))["last_error"] is None


async def test_a_meeting_outlives_a_refusal_of_the_token(service: RunningService) -> None:
    await service.connect()
    await tokens_run_out(service)
    await set_faults(service, refused(LOCKED, times=None))
    event = await service.create_event()
    assert event["zoom"]["state"] != "failed"
    assert event["zoom"]["last_error"]["type"] == "token-refused"
    assert "User is locked" in event["zoom"]["last_error"]["detail"]
    assert (await dead(service), await zoom_calls(service, CREATE)) == (0, [])
    await set_faults(service)
    await advance(service)
    shown = await get_event(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    assert len(await zoom_calls(service, CREATE)) == 1


async def test_a_refused_token_of_a_call_is_no_refusal_of_the_registrant(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await set_faults(service, refused(CATCH_ALL, times=2, operation=ADD))
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "pending"
    await set_faults(service)
    await advance(service)
    assert (await registrant(service, event))["state"] == "ready"


async def test_a_disabled_app_is_told_on_the_card_and_sends_nobody_to_reconnect(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await tokens_run_out(service)
    await set_faults(service, refused(DISABLED, times=None))
    await rsvp(service, event)
    registrant_row = await registrant(service, event)
    assert registrant_row["state"] == "pending"
    assert "connect" not in registrant_row["reason"].replace("connection", "")
    shown = await card(service)
    assert (shown["status"], shown["last_error"]["type"]) == ("connected", "app-disabled")
    assert "App Marketplace" in shown["reason"]
    started = await service.post("admin", f"/api/events/{event['id']}/zoom-start")
    opened = await service.api.get(started.json()["url"], follow_redirects=False)
    assert opened.status_code == 503
    assert "connected again" not in opened.text
    await set_faults(service)
    await advance(service)
    assert (await registrant(service, event))["state"] == "ready"


async def fail_once(service: RunningService) -> dict[str, Any]:
    """Create an event with a member whose registrant Zoom refused for good."""
    await service.connect()
    event: dict[str, Any] = await service.create_event()
    await set_faults(service, refused({"code": 300, "message": "Not today."}, operation=ADD))
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "failed"
    return event


async def test_answering_again_tries_again(service: RunningService) -> None:
    event = await fail_once(service)
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "ready"
    assert len(await zoom_calls(service, ADD)) == 2


async def test_answering_again_where_there_is_a_link_asks_zoom_nothing(service: RunningService) -> None:
    event = await fail_once(service)
    for _ in range(3):
        await rsvp(service, event)
    assert len(await zoom_calls(service, ADD)) == 2


async def test_answering_on_behalf_tries_again(service: RunningService) -> None:
    event = await fail_once(service)
    path = f"/api/events/{event['id']}/registrations/m-member"
    answer = await service.call("admin", "PUT", path, json={"status": "going"})
    assert answer.status_code == 200, answer.text
    await service.wait_idle()
    assert (await registrant(service, event))["state"] == "ready"


async def test_bringing_event_and_zoom_together_tries_everybody_again(service: RunningService) -> None:
    event = await fail_once(service)
    await sync(service, event)
    assert (await registrant(service, event))["state"] == "ready"


async def test_asking_for_a_new_link_tries_again(service: RunningService) -> None:
    event = await fail_once(service)
    answer = await service.post("admin", f"/api/events/{event['id']}/registrations/m-member/new-link")
    assert answer.status_code == 202, answer.text
    await service.wait_idle()
    assert (await registrant(service, event))["state"] == "ready"


async def test_a_row_that_was_given_up_is_tried_by_whoever_answers_again(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await tokens_run_out(service)
    await set_faults(service, refused(LOCKED, times=None))
    await rsvp(service, event)
    await service.resources.db.pool.execute("UPDATE outbox SET dead_at = now() WHERE job = 'registrants.sync'")
    await set_faults(service)
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "ready"


async def test_whoever_asks_does_not_wait_for_the_next_try(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    await tokens_run_out(service)
    await set_faults(service, refused(LOCKED, times=None))
    await rsvp(service, event)
    await service.resources.db.pool.execute(
        "UPDATE outbox SET due_at = $1, not_before = $1 WHERE job = 'registrants.sync'",
        service.clock.now() + timedelta(hours=1),
    )
    await set_faults(service)
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "ready"


async def test_reading_the_account_again_revives_what_was_given_up(service: RunningService) -> None:
    await service.connect()
    await set_faults(service, refused({"code": 3161, "message": "Not allowed."}, operation=CREATE))
    event = await service.create_event()
    assert event["zoom"]["state"] == "failed"
    assert await dead(service) == 1
    account = (await card(service))["id"]
    path = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom/accounts/{account}/sync"
    assert (await service.post("admin", path)).status_code == 202
    await service.wait_idle()
    assert (await get_event(service, event))["zoom"]["state"] == "scheduled"
    await only_meeting(service)


async def test_the_account_is_read_again_after_a_refusal_of_the_token(service: RunningService) -> None:
    await service.connect()
    await tokens_run_out(service)
    await set_faults(service, refused(LOCKED, times=None))
    account = (await card(service))["id"]
    path = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom/accounts/{account}/sync"
    assert (await service.post("admin", path)).status_code == 202
    await service.wait_idle()
    assert await dead(service) == 0
    assert len(await outbox(service, "accounts.read")) == 1
    await set_faults(service)
    await advance(service)
    assert await outbox(service, "accounts.read") == []
