"""Steps of the reviewer plan as people do them: connect, provision, RSVP, cancel, disconnect.

The plan is section 7 of the product document. Step 5 is `step_webhooks`.
"""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from app.demo.walkthrough_state import WAIT_FOR_SYNC, Walkthrough, schedule_event
from app.devstack.http_clients import INTEGRATION, StepFailed, expect, until
from app.devstack.personas import PERSONAS

ZOOM_USER = "ada@riverside.example"
TITLE = "Demo event — now on Zoom"
UNAVAILABLE_TITLE = "Meeting unavailable"
# seconds; the service keeps a registrant for a minute after "not going", in which coming back costs nothing
REGISTRANT_GRACE = 75.0


async def connect(walkthrough: Walkthrough) -> None:
    """Step 1: connect Zoom, consent and confirm.

    The integration card shows the e-mail address and the hosts.
    """
    begun = (await walkthrough.api.call("admin", "POST", f"{INTEGRATION}/connect")).json()
    consent = await walkthrough.zoom.visit(
        f"{begun['authorize_url']}&{urlencode({'as': ZOOM_USER, 'decision': 'approve'})}"
    )
    expect(consent.status_code == 302, f"Zoom's consent page answered {consent.status_code}")
    walkthrough.report(f"{PERSONAS['admin'].name} clicks Connect Zoom and approves as {ZOOM_USER}")
    back = urlsplit(consent.headers["location"])
    response = await walkthrough.api.call(None, "GET", f"{back.path}?{back.query}", status=303)
    landing = urlsplit(response.headers["location"])
    query = dict(parse_qsl(landing.query))
    expect(query.get("zoom") == "confirm", f"the browser came back with {query.get('zoom')}: {query.get('reason')}")
    expect(
        response.headers["location"].startswith(walkthrough.environment.platform.url),
        "the browser was not sent to the SPA",
    )
    account = await walkthrough.api.call("admin", "POST", f"{INTEGRATION}/connect/confirm", {"handle": query["handle"]})
    walkthrough.account_id = account.json()["id"]
    walkthrough.report(f"back at {landing.path}, the SPA confirms")
    card = (await walkthrough.api.get("admin", INTEGRATION))["accounts"][0]
    hosts = await until("the card lists three hosts", lambda: _host_list(walkthrough, 3))
    expect(card["email"] == ZOOM_USER, f"the card shows {card['email']}")
    expect(card["status"] == "connected", f"the account is {card['status']}: {card['reason']}")
    expect(not card["missing_scopes"], f"scopes are missing: {card['missing_scopes']}")
    expect(not card["warnings"], f"the card warns: {card['warnings']}")
    walkthrough.host = next(host for host in hosts if host["email"] == ZOOM_USER)
    walkthrough.report(
        f"the card shows {card['email']} and the hosts {', '.join(_describe_host(host) for host in hosts)}"
    )


async def provision(walkthrough: Walkthrough) -> None:
    """Step 2: switch the event's delivery to Zoom, which creates the meeting; a new title changes it."""
    event = await walkthrough.patch_event(delivery_mode="zoom", host_id=walkthrough.host["id"])
    zoom = event["zoom"]
    expect(zoom["protected"] is True, "registration is not on, so links would not be personal")
    expect(not zoom["differences"], f"Zoom says otherwise: {zoom['differences']}")
    walkthrough.report(
        f"{PERSONAS['admin'].name} edits the event: Zoom, host {walkthrough.host['name']}: meeting {zoom['meeting_id']}"
    )
    changed = await walkthrough.patch_event(title=TITLE)
    expect(changed["zoom"]["meeting_id"] == zoom["meeting_id"], "the change made another meeting")
    at_zoom = await _meeting_at_zoom(walkthrough, zoom["meeting_id"])
    expect(at_zoom["topic"] == TITLE, f"at Zoom it is still called {at_zoom['topic']!r}")
    walkthrough.report(f'a new title: at Zoom the meeting is now called "{at_zoom["topic"]}"')


async def rsvp(walkthrough: Walkthrough) -> None:
    """Step 3: RSVP and invitation; join too early and in time; not going, and going again."""
    walkthrough.report(
        f"the reviewer, who hosts on Zoom, answers as a second member, {PERSONAS['member'].name}:"
        " Zoom refuses a host as registrant of its own meeting"
    )
    await _rsvp(walkthrough, "going", "ready")
    walkthrough.report(f"RSVP going: registrant ready; mail {await walkthrough.next_invitation('REQUEST')}")
    too_early = (
        await walkthrough.api.call("member", "POST", f"{walkthrough.event_path}/zoom-join", {}, status=403)
    ).json()
    expect(too_early["type"].endswith("/too-early"), f"Join was refused with {too_early['type']}")
    walkthrough.report(f"click on Join before joining opens: {too_early['detail']}")
    not_registered = (
        await walkthrough.api.call("member2", "POST", f"{walkthrough.event_path}/zoom-join", {}, status=403)
    ).json()
    expect(not_registered["type"].endswith("/not-registered"), f"Join was refused with {not_registered['type']}")
    walkthrough.report(f"click on Join by {PERSONAS['member2'].name}, who has not answered: {not_registered['detail']}")
    await walkthrough.reschedule(timedelta(minutes=5))
    walkthrough.report(f"moved to 5 minutes from now; mail {await walkthrough.next_invitation('REQUEST')}")
    meeting_page = await walkthrough.zoom.visit(await walkthrough.join("member"))
    expect(
        meeting_page.is_success and PERSONAS["member"].name in meeting_page.text,
        "the personal link does not let its owner in",
    )
    walkthrough.report(
        f"click on Join: 303 to the personal link (not shown), where Zoom greets {PERSONAS['member'].name}"
    )
    walkthrough.report("the same ticket once more: refused, it was used")
    await walkthrough.api.call("member", "PUT", f"{walkthrough.event_path}/rsvp", {"status": "not_going"})
    walkthrough.report(f"RSVP not going: mail {await walkthrough.next_invitation('CANCEL')}")
    refused = await walkthrough.api.call("member", "POST", f"{walkthrough.event_path}/zoom-join", {}, status=403)
    walkthrough.report(
        f'click on Join: "{refused.json()["detail"]}"; Zoom is told once a minute for second thoughts is over'
    )
    await walkthrough.wait_for_registrant("cancelled", REGISTRANT_GRACE)
    walkthrough.report("the registrant is cancelled")
    await _rsvp(walkthrough, "going", "ready")
    walkthrough.report(f"RSVP going again: registrant ready; mail {await walkthrough.next_invitation('REQUEST')}")


async def cancel(walkthrough: Walkthrough) -> None:
    """Step 7: cancel the event. The meeting is deleted and everybody is notified."""
    meeting_id = await walkthrough.meeting_id()
    event = (
        await walkthrough.api.call("admin", "POST", f"{walkthrough.event_path}/cancel", headers=WAIT_FOR_SYNC)
    ).json()
    expect(event["status"] == "cancelled", f"the event is {event['status']}")

    async def is_gone() -> bool:
        return all(str(meeting["id"]) != meeting_id for meeting in await _meetings_at_zoom(walkthrough))

    await until("the meeting is gone at Zoom", is_gone)
    walkthrough.report(f"{PERSONAS['admin'].name} cancels the event: meeting {meeting_id} is gone at Zoom")
    walkthrough.report(f"mail {await walkthrough.next_invitation('CANCEL')}")


async def second_event(walkthrough: Walkthrough) -> None:
    """Before step 8: schedule another event on Zoom, with the member registered."""
    changes = {"delivery_mode": "zoom", "host_id": walkthrough.host["id"]}
    walkthrough.cancelled_event, walkthrough.event_id = (
        walkthrough.event_path,
        await schedule_event(walkthrough.api, "Second demo event", **changes),
    )
    await _rsvp(walkthrough, "going", "ready")
    walkthrough.report("beforehand, a second event on Zoom, next Wednesday; the member is registered for it")


async def disconnect(walkthrough: Walkthrough) -> None:
    """Step 8: disconnect.

    Tokens are revoked and erased, hosts are gone, and joining a scheduled event says so.
    """
    await walkthrough.api.call("admin", "DELETE", f"{INTEGRATION}/accounts/{walkthrough.account_id}", status=204)
    card = await walkthrough.api.get("admin", INTEGRATION)
    expect(card["accounts"] == [], "the account is still on the card")
    expect((await walkthrough.api.get("admin", f"{INTEGRATION}/hosts"))["items"] == [], "its hosts are still offered")
    walkthrough.report(f"{PERSONAS['admin'].name} clicks Disconnect: no account on the card, no host in the picker")
    await until("Zoom has revoked the grant", lambda: _is_revoked(walkthrough))
    await until("tokens and hosts are erased", lambda: _is_erased(walkthrough))
    walkthrough.report("revoked at Zoom; in the database no token, no host's name or e-mail is left")
    path = f"{walkthrough.event_path}/zoom-join"
    refused = (await walkthrough.api.call("member", "POST", path, {}, status=409)).json()
    expect(refused["title"] == UNAVAILABLE_TITLE, f"Join was refused with {refused['title']!r}")
    page = await walkthrough.api.call("member", "POST", path, {}, status=409, headers={"Accept": "text/html"})
    expect(UNAVAILABLE_TITLE in page.text, "the page a browser gets does not say so")
    walkthrough.report(f"click on Join of a scheduled event: {refused['detail']}")
    earlier_event = await walkthrough.api.get("member", walkthrough.cancelled_event)
    expect(earlier_event["status"] == "cancelled", f"the event of before is {earlier_event['status']}")
    walkthrough.report("the events of before are still there")


async def _rsvp(walkthrough: Walkthrough, status: str, registrant: str) -> None:
    await walkthrough.api.call("member", "PUT", f"{walkthrough.event_path}/rsvp", {"status": status})
    await walkthrough.wait_for_registrant(registrant)


async def _host_list(walkthrough: Walkthrough, count: int) -> list[dict[str, Any]] | None:
    hosts = (await walkthrough.api.get("admin", INTEGRATION))["accounts"][0]["hosts"]
    return hosts if len(hosts) == count else None


def _describe_host(host: dict[str, Any]) -> str:
    return f"{host['name']} ({'licensed' if host['licensed'] else 'basic'})"


async def _meetings_at_zoom(walkthrough: Walkthrough) -> list[dict[str, Any]]:
    meetings: list[dict[str, Any]] = (await walkthrough.zoom.control("GET", "state"))["meetings"]
    return meetings


async def _meeting_at_zoom(walkthrough: Walkthrough, meeting_id: str) -> dict[str, Any]:
    for meeting in await _meetings_at_zoom(walkthrough):
        if str(meeting["id"]) == meeting_id:
            return meeting
    raise StepFailed(f"Zoom has no meeting {meeting_id}")


async def _is_revoked(walkthrough: Walkthrough) -> bool:
    state = await walkthrough.zoom.control("GET", "state")
    return not any(grant["alive"] for grant in state["grants"])


async def _is_erased(walkthrough: Walkthrough) -> bool:
    remaining = """SELECT (SELECT count(*) FROM grants) + (SELECT count(*) FROM revocations)
                   + (SELECT count(*) FROM hosts WHERE email IS NOT NULL OR name IS NOT NULL)
                   + (SELECT count(*) FROM accounts WHERE webhook_secret IS NOT NULL)"""
    database = await asyncpg.connect(walkthrough.environment.settings["DATABASE_URL"])
    try:
        return bool(await database.fetchval(remaining) == 0)
    finally:
        await database.close()
