"""The reviewer plan of the product document (section 7), step by step, as a person in the SPA and Zoom would do it."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from app.demo.calls import StepFailed, expect, until
from app.demo.cast import CAST
from app.demo.scene import INTEGRATION, SYNCED, Scene, schedule

ZOOM_USER = "ada@riverside.example"
TITLE = "Demo event — now on Zoom"
UNAVAILABLE = "Meeting unavailable"
SECOND_THOUGHTS = 75.0  # seconds: a registrant is kept for a minute, in which coming back costs nothing


async def connect(scene: Scene) -> None:
    """Step 1: Connect Zoom, consent, confirm; the card shows e-mail and hosts."""
    begun = (await scene.api.call("admin", "POST", f"{INTEGRATION}/connect")).json()
    consent = await scene.zoom.visit(f"{begun['authorize_url']}&{urlencode({'as': ZOOM_USER, 'decision': 'approve'})}")
    expect(consent.status_code == 302, f"Zoom's consent page answered {consent.status_code}")
    scene.tell(f"{CAST['admin'].name} clicks Connect Zoom and approves as {ZOOM_USER}")
    back = urlsplit(consent.headers["location"])
    answer = await scene.api.call(None, "GET", f"{back.path}?{back.query}", status=303)
    landed = urlsplit(answer.headers["location"])
    told = dict(parse_qsl(landed.query))
    expect(told.get("zoom") == "confirm", f"the browser came back with {told.get('zoom')}: {told.get('reason')}")
    expect(answer.headers["location"].startswith(scene.house.platform.url), "the browser was not sent to the SPA")
    account = await scene.api.call("admin", "POST", f"{INTEGRATION}/connect/confirm", {"handle": told["handle"]})
    scene.account_id = account.json()["id"]
    scene.tell(f"back at {landed.path}, the SPA confirms")
    card = (await scene.api.get("admin", INTEGRATION))["accounts"][0]
    hosts = await until("the card lists three hosts", lambda: _hosts(scene, 3))
    expect(card["email"] == ZOOM_USER, f"the card shows {card['email']}")
    expect(card["status"] == "connected", f"the account is {card['status']}: {card['reason']}")
    expect(not card["missing_scopes"], f"scopes are missing: {card['missing_scopes']}")
    expect(not card["warnings"], f"the card warns: {card['warnings']}")
    scene.host = next(host for host in hosts if host["email"] == ZOOM_USER)
    scene.tell(f"the card shows {card['email']} and the hosts {', '.join(_described(host) for host in hosts)}")


async def provision(scene: Scene) -> None:
    """Step 2: delivery switched to Zoom makes the meeting, a new title changes it."""
    event = await scene.change(delivery_mode="zoom", host_id=scene.host["id"])
    zoom = event["zoom"]
    expect(zoom["protected"] is True, "registration is not on, so links would not be personal")
    expect(not zoom["differences"], f"Zoom says otherwise: {zoom['differences']}")
    scene.tell(f"{CAST['admin'].name} edits the event: Zoom, host {scene.host['name']}: meeting {zoom['meeting_id']}")
    changed = await scene.change(title=TITLE)
    expect(changed["zoom"]["meeting_id"] == zoom["meeting_id"], "the change made another meeting")
    at_zoom = await _at_zoom(scene, zoom["meeting_id"])
    expect(at_zoom["topic"] == TITLE, f"at Zoom it is still called {at_zoom['topic']!r}")
    scene.tell(f'a new title: at Zoom the meeting is now called "{at_zoom["topic"]}"')


async def rsvp(scene: Scene) -> None:
    """Step 3: RSVP, invite, Join too early and in time, not going, going again."""
    scene.tell(
        f"the reviewer, who hosts on Zoom, answers as a second member, {CAST['member'].name}:"
        " Zoom refuses a host as registrant of its own meeting"
    )
    await _answer(scene, "going", "ready")
    scene.tell(f"RSVP going: registrant ready; mail {await scene.invite('REQUEST')}")
    early = (await scene.api.call("member", "POST", f"{scene.event}/zoom-join", {}, status=403)).json()
    expect(early["type"].endswith("/too-early"), f"Join was refused with {early['type']}")
    scene.tell(f"click on Join before the door opens: {early['detail']}")
    stranger = (await scene.api.call("member2", "POST", f"{scene.event}/zoom-join", {}, status=403)).json()
    expect(stranger["type"].endswith("/not-registered"), f"Join was refused with {stranger['type']}")
    scene.tell(f"click on Join by {CAST['member2'].name}, who has not answered: {stranger['detail']}")
    await scene.move(timedelta(minutes=5))
    scene.tell(f"moved to 5 minutes from now; mail {await scene.invite('REQUEST')}")
    inside = await scene.zoom.visit(await scene.enter("member"))
    expect(inside.is_success and CAST["member"].name in inside.text, "the personal link does not let its owner in")
    scene.tell(f"click on Join: 303 to the personal link (not shown), where Zoom greets {CAST['member'].name}")
    scene.tell("the same pass once more: refused, it was used")
    await scene.api.call("member", "PUT", f"{scene.event}/rsvp", {"status": "not_going"})
    scene.tell(f"RSVP not going: mail {await scene.invite('CANCEL')}")
    refused = await scene.api.call("member", "POST", f"{scene.event}/zoom-join", {}, status=403)
    scene.tell(f'click on Join: "{refused.json()["detail"]}"; Zoom is told once a minute for second thoughts is over')
    await scene.registrant("cancelled", SECOND_THOUGHTS)
    scene.tell("the registrant is cancelled")
    await _answer(scene, "going", "ready")
    scene.tell(f"RSVP going again: registrant ready; mail {await scene.invite('REQUEST')}")


async def cancel(scene: Scene) -> None:
    """Step 7: Cancel event deletes the meeting and tells everyone."""
    number = await scene.number()
    event = (await scene.api.call("admin", "POST", f"{scene.event}/cancel", headers=SYNCED)).json()
    expect(event["status"] == "cancelled", f"the event is {event['status']}")

    async def gone() -> bool:
        return all(str(meeting["id"]) != number for meeting in await _meetings(scene))

    await until("the meeting is gone at Zoom", gone)
    scene.tell(f"{CAST['admin'].name} cancels the event: meeting {number} is gone at Zoom")
    scene.tell(f"mail {await scene.invite('CANCEL')}")


async def second_event(scene: Scene) -> None:
    """Before step 8: an event on Zoom that is still to come, with the member registered."""
    wishes = {"delivery_mode": "zoom", "host_id": scene.host["id"]}
    scene.cancelled_event, scene.event_id = scene.event, await schedule(scene.api, "Second demo event", **wishes)
    await _answer(scene, "going", "ready")
    scene.tell("beforehand, a second event on Zoom, next Wednesday; the member is registered for it")


async def disconnect(scene: Scene) -> None:
    """Step 8: tokens revoked and erased, hosts gone, the door of a scheduled event says so."""
    await scene.api.call("admin", "DELETE", f"{INTEGRATION}/accounts/{scene.account_id}", status=204)
    card = await scene.api.get("admin", INTEGRATION)
    expect(card["accounts"] == [], "the account is still on the card")
    expect((await scene.api.get("admin", f"{INTEGRATION}/hosts"))["items"] == [], "its hosts are still offered")
    scene.tell(f"{CAST['admin'].name} clicks Disconnect: no account on the card, no host in the picker")
    await until("Zoom has revoked the grant", lambda: _revoked(scene))
    await until("tokens and hosts are erased", lambda: _erased(scene))
    scene.tell("revoked at Zoom; in the database no token, no host's name or e-mail is left")
    path = f"{scene.event}/zoom-join"
    refused = (await scene.api.call("member", "POST", path, {}, status=409)).json()
    expect(refused["title"] == UNAVAILABLE, f"Join was refused with {refused['title']!r}")
    page = await scene.api.call("member", "POST", path, {}, status=409, headers={"Accept": "text/html"})
    expect(UNAVAILABLE in page.text, "the page a browser gets does not say so")
    scene.tell(f"click on Join of a scheduled event: {refused['detail']}")
    before = await scene.api.get("member", scene.cancelled_event)
    expect(before["status"] == "cancelled", f"the event of before is {before['status']}")
    scene.tell("the events of before are still there")


async def _answer(scene: Scene, status: str, registrant: str) -> None:
    await scene.api.call("member", "PUT", f"{scene.event}/rsvp", {"status": status})
    await scene.registrant(registrant)


async def _hosts(scene: Scene, count: int) -> list[dict[str, Any]] | None:
    hosts = (await scene.api.get("admin", INTEGRATION))["accounts"][0]["hosts"]
    return hosts if len(hosts) == count else None


def _described(host: dict[str, Any]) -> str:
    return f"{host['name']} ({'licensed' if host['licensed'] else 'basic'})"


async def _meetings(scene: Scene) -> list[dict[str, Any]]:
    meetings: list[dict[str, Any]] = (await scene.zoom.control("GET", "state"))["meetings"]
    return meetings


async def _at_zoom(scene: Scene, number: str) -> dict[str, Any]:
    for meeting in await _meetings(scene):
        if str(meeting["id"]) == number:
            return meeting
    raise StepFailed(f"Zoom has no meeting {number}")


async def _revoked(scene: Scene) -> bool:
    state = await scene.zoom.control("GET", "state")
    return not any(grant["alive"] for grant in state["grants"])


async def _erased(scene: Scene) -> bool:
    left = """SELECT (SELECT count(*) FROM grants) + (SELECT count(*) FROM revocations)
                   + (SELECT count(*) FROM hosts WHERE email IS NOT NULL OR name IS NOT NULL)
                   + (SELECT count(*) FROM accounts WHERE webhook_secret IS NOT NULL)"""
    database = await asyncpg.connect(scene.house.settings["DATABASE_URL"])
    try:
        return bool(await database.fetchval(left) == 0)
    finally:
        await database.close()
