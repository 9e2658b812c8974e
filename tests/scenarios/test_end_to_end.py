"""The product's one promise, end to end, with everything running."""

from datetime import datetime, timedelta

import pytest

from tests.support.service import COMMUNITY, RunningService

pytestmark = pytest.mark.no_snapshots

INTEGRATION = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom"


async def test_a_member_gets_from_the_invite_into_the_meeting_and_out_again(service: RunningService) -> None:
    account = await service.connect()
    assert account["email"] == "ada@riverside.example"

    event = await service.create_event()
    assert event["zoom"]["state"] == "scheduled"
    assert event["zoom"]["protected"] is True

    answered = await service.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    assert answered.status_code == 200, answered.text
    mail = await service.mailbox.next(to="member@members.example")
    assert "Open evening" in str(mail.message["Subject"])
    await service.wait_idle()

    shown = (await service.get("member", f"/api/events/{event['id']}")).json()
    assert shown["my_rsvp"]["registrant"]["state"] == "ready"
    assert shown["join"]["reason"] == "too-early"
    assert "zoom" not in shown or shown["zoom"] is None

    await service.advance_clock(timedelta(hours=24))
    clicked = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert clicked.status_code == 200, clicked.text
    redirect = await service.get(None, clicked.json()["url"])
    assert redirect.status_code == 303
    inside = await service.zoom.get(redirect.headers["location"])
    assert "Mia" in inside.text

    number = event["zoom"]["meeting_id"]
    (await service.zoom.post(f"/simulator/meetings/{number}/start")).raise_for_status()
    await service.wait_idle()
    assert (await service.get("member", f"/api/events/{event['id']}")).json()["status"] == "live"
    ends_at = datetime.fromisoformat(event["ends_at"])
    await service.advance_clock(ends_at + timedelta(minutes=5) - service.clock.now())
    (await service.zoom.post(f"/simulator/meetings/{number}/end")).raise_for_status()
    await service.wait_idle()
    assert (await service.get("member", f"/api/events/{event['id']}")).json()["status"] == "ended"

    cancelled = await service.post("admin", f"/api/events/{event['id']}/cancel")
    assert cancelled.json()["status"] == "cancelled"
    assert "cancel" in str((await service.mailbox.next(to="member@members.example")).message["Subject"]).lower()
    await service.wait_idle()
    state = (await service.zoom.get("/simulator/state")).json()
    assert number not in str(state["meetings"].keys() if isinstance(state["meetings"], dict) else state["meetings"])

    gone = await service.call("admin", "DELETE", f"{INTEGRATION}/accounts/{account['id']}")
    assert gone.status_code == 204
    await service.wait_idle()
    assert any(entry["path"] == "/oauth/revoke" for entry in await service.journal())
