"""A refusal of the token is no word of Zoom's about a meeting or a registrant; whoever asks again is always tried."""

from datetime import timedelta
from typing import Any

import pytest

from tests.living import COMMUNITY, Living
from tests.meetings.house import ADD, CARD, CREATE, calls, faults, later, outbox, rsvp, seen, sync, the_meeting

LOCKED = {"reason": "User is locked", "error": "unknown_error"}
CATCH_ALL = {"code": 4700, "message": "Exception message"}
DISABLED = {"code": 4717, "message": "The app has been disabled."}


def refused(body: dict[str, Any], times: int | None = 1, operation: str = "oauthRefresh") -> dict[str, Any]:
    """A fault: this is what a call is answered, with status 400."""
    return {"kind": "status", "operation": operation, "status": 400, "body": body, "times": times}


async def tokens_run_out(living: Living) -> None:
    """The next call needs a new token."""
    await living.forward(timedelta(minutes=58))


async def card(living: Living) -> Any:
    """The account as the admin sees it."""
    return (await living.get("admin", CARD)).json()["accounts"][0]


async def registrant(living: Living, event: dict[str, Any], who: str = "member") -> Any:
    """What the list of answers says of somebody's registrant."""
    listed = (await living.get("admin", f"/api/events/{event['id']}/registrations")).json()["items"]
    return next(row["registrant"] for row in listed if row["member_id"] == f"m-{who}")


async def dead(living: Living) -> int:
    """How many rows were given up."""
    found: int = await living.held.db.hot.fetchval("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL")
    return found


@pytest.mark.parametrize("body", [LOCKED, CATCH_ALL])
async def test_a_registration_outlives_a_refusal_of_the_token(living: Living, body: dict[str, Any]) -> None:
    await living.connect()
    event = await living.event()
    await tokens_run_out(living)
    await faults(living, refused(body, times=None))
    await rsvp(living, event)
    told = await registrant(living, event)
    assert told["state"] == "pending"
    assert "tried again by itself" in told["reason"]
    shown = await card(living)
    assert (shown["status"], shown["last_error"]["type"]) == ("connected", "token-refused")
    assert await dead(living) == 0
    await faults(living)
    await later(living)
    assert (await registrant(living, event))["state"] == "ready"
    assert (await card(living))["last_error"] is None


async def test_a_meeting_outlives_a_refusal_of_the_token(living: Living) -> None:
    await living.connect()
    await tokens_run_out(living)
    await faults(living, refused(LOCKED, times=None))
    event = await living.event()
    assert event["zoom"]["state"] != "failed"
    assert event["zoom"]["last_error"]["type"] == "token-refused"
    assert "User is locked" in event["zoom"]["last_error"]["detail"]
    assert (await dead(living), await calls(living, CREATE)) == (0, [])
    await faults(living)
    await later(living)
    shown = await seen(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    assert len(await calls(living, CREATE)) == 1


async def test_a_refused_token_of_a_call_is_no_refusal_of_the_registrant(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await faults(living, refused(CATCH_ALL, times=2, operation=ADD))
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "pending"
    await faults(living)
    await later(living)
    assert (await registrant(living, event))["state"] == "ready"


async def test_a_disabled_app_is_told_on_the_card_and_sends_nobody_to_reconnect(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await tokens_run_out(living)
    await faults(living, refused(DISABLED, times=None))
    await rsvp(living, event)
    told = await registrant(living, event)
    assert told["state"] == "pending"
    assert "connect" not in told["reason"].replace("connection", "")
    shown = await card(living)
    assert (shown["status"], shown["last_error"]["type"]) == ("connected", "app-disabled")
    assert "App Marketplace" in shown["reason"]
    started = await living.post("admin", f"/api/events/{event['id']}/zoom-start")
    opened = await living.api.get(started.json()["url"], follow_redirects=False)
    assert opened.status_code == 503
    assert "connected again" not in opened.text
    await faults(living)
    await later(living)
    assert (await registrant(living, event))["state"] == "ready"


async def fail_once(living: Living) -> dict[str, Any]:
    """An event with a member whose registration Zoom refused for good, as it would a token before."""
    await living.connect()
    event: dict[str, Any] = await living.event()
    await faults(living, refused({"code": 300, "message": "Not today."}, operation=ADD))
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "failed"
    return event


async def test_answering_again_tries_again(living: Living) -> None:
    event = await fail_once(living)
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "ready"
    assert len(await calls(living, ADD)) == 2


async def test_answering_again_where_there_is_a_link_asks_zoom_nothing(living: Living) -> None:
    event = await fail_once(living)
    for _ in range(3):
        await rsvp(living, event)
    assert len(await calls(living, ADD)) == 2


async def test_answering_on_behalf_tries_again(living: Living) -> None:
    event = await fail_once(living)
    path = f"/api/events/{event['id']}/registrations/m-member"
    answer = await living.call("admin", "PUT", path, json={"status": "going"})
    assert answer.status_code == 200, answer.text
    await living.quiet()
    assert (await registrant(living, event))["state"] == "ready"


async def test_bringing_event_and_zoom_together_tries_everybody_again(living: Living) -> None:
    event = await fail_once(living)
    await sync(living, event)
    assert (await registrant(living, event))["state"] == "ready"


async def test_asking_for_a_new_link_tries_again(living: Living) -> None:
    event = await fail_once(living)
    answer = await living.post("admin", f"/api/events/{event['id']}/registrations/m-member/new-link")
    assert answer.status_code == 202, answer.text
    await living.quiet()
    assert (await registrant(living, event))["state"] == "ready"


async def test_a_row_that_was_given_up_is_tried_by_whoever_answers_again(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await tokens_run_out(living)
    await faults(living, refused(LOCKED, times=None))
    await rsvp(living, event)
    await living.held.db.hot.execute("UPDATE outbox SET dead_at = now() WHERE reaction = 'registrations.sync'")
    await faults(living)
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "ready"


async def test_whoever_asks_does_not_wait_for_the_next_try(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await tokens_run_out(living)
    await faults(living, refused(LOCKED, times=None))
    await rsvp(living, event)
    await living.held.db.hot.execute(
        "UPDATE outbox SET due_at = $1, not_before = $1 WHERE reaction = 'registrations.sync'",
        living.clock.now() + timedelta(hours=1),
    )
    await faults(living)
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "ready"


async def test_reading_the_account_again_revives_what_was_given_up(living: Living) -> None:
    await living.connect()
    await faults(living, refused({"code": 3161, "message": "Not allowed."}, operation=CREATE))
    event = await living.event()
    assert event["zoom"]["state"] == "failed"
    assert await dead(living) == 1
    account = (await card(living))["id"]
    path = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom/accounts/{account}/sync"
    assert (await living.post("admin", path)).status_code == 202
    await living.quiet()
    assert (await seen(living, event))["zoom"]["state"] == "scheduled"
    await the_meeting(living)


async def test_the_account_is_read_again_after_a_refusal_of_the_token(living: Living) -> None:
    await living.connect()
    await tokens_run_out(living)
    await faults(living, refused(LOCKED, times=None))
    account = (await card(living))["id"]
    path = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom/accounts/{account}/sync"
    assert (await living.post("admin", path)).status_code == 202
    await living.quiet()
    assert await dead(living) == 0
    assert len(await outbox(living, "accounts.read")) == 1
    await faults(living)
    await later(living)
    assert await outbox(living, "accounts.read") == []
