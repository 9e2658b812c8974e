"""The product's one promise, end to end, with everything running."""

from datetime import datetime, timedelta

from tests.living import COMMUNITY, Living

CARD = f"/api/communities/{COMMUNITY['slug']}/integrations/zoom"


async def test_a_member_gets_from_the_invite_into_the_meeting_and_out_again(living: Living) -> None:
    account = await living.connect()
    assert account["email"] == "ada@riverside.example"

    event = await living.event()
    assert event["zoom"]["state"] == "scheduled"
    assert event["zoom"]["protected"] is True

    answered = await living.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    assert answered.status_code == 200, answered.text
    mail = await living.mailbox.next(to="member@members.example")
    assert "Open evening" in str(mail.message["Subject"])
    await living.quiet()

    seen = (await living.get("member", f"/api/events/{event['id']}")).json()
    assert seen["my_rsvp"]["registrant"]["state"] == "ready"
    assert seen["join"]["reason"] == "too-early"
    assert "zoom" not in seen or seen["zoom"] is None

    await living.forward(timedelta(hours=24))
    clicked = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert clicked.status_code == 200, clicked.text
    redirect = await living.get(None, clicked.json()["url"])
    assert redirect.status_code == 303
    inside = await living.zoom.get(redirect.headers["location"])
    assert "Mia" in inside.text

    number = event["zoom"]["meeting_id"]
    (await living.zoom.post(f"/simulator/meetings/{number}/start")).raise_for_status()
    await living.quiet()
    assert (await living.get("member", f"/api/events/{event['id']}")).json()["status"] == "live"
    ends_at = datetime.fromisoformat(event["ends_at"])
    await living.forward(ends_at + timedelta(minutes=5) - living.clock.now())
    (await living.zoom.post(f"/simulator/meetings/{number}/end")).raise_for_status()
    await living.quiet()
    assert (await living.get("member", f"/api/events/{event['id']}")).json()["status"] == "ended"

    cancelled = await living.post("admin", f"/api/events/{event['id']}/cancel")
    assert cancelled.json()["status"] == "cancelled"
    assert "cancel" in str((await living.mailbox.next(to="member@members.example")).message["Subject"]).lower()
    await living.quiet()
    state = (await living.zoom.get("/simulator/state")).json()
    assert number not in str(state["meetings"].keys() if isinstance(state["meetings"], dict) else state["meetings"])

    gone = await living.call("admin", "DELETE", f"{CARD}/accounts/{account['id']}")
    assert gone.status_code == 204
    await living.quiet()
    assert any(entry["path"] == "/oauth/revoke" for entry in await living.journal())
