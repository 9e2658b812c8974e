"""A long run of the whole service: everything it does at this stage, in order, with failures."""

import json
import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.scenarios.security.callers import all_callers
from tests.scenarios.security.failures import database_failures, meeting_failures, token_failures, zoom_failures
from tests.scenarios.security.fixtures import event_body, start_connect
from tests.scenarios.security.recorder import ADA, BASE, GUEST, PERSONAL, WIL, ZOOM, Recorder, find_in_last_mail
from tests.scenarios.security.secret_search import Secret
from tests.support.service import COMMUNITY, PERSONAS


async def run_scenario(recorder: Recorder) -> None:
    """Run all steps in order."""
    riverside = await connect_accounts(recorder)
    event, open_event = await schedule_events(recorder)
    await rsvp(recorder, event, open_event)
    await read_everything(recorder, event["id"], riverside)
    await zoom_failures(recorder, event)
    await database_failures(recorder, event)
    await join(recorder, event, open_event)
    await join_as_guest(recorder, event)
    await receive_notifications(recorder, event, riverside)
    await token_failures(recorder, event)
    await meeting_failures(recorder, event)
    await disconnect_accounts(recorder, event, riverside)


async def connect_accounts(recorder: Recorder) -> str:
    """Connect two accounts and fail to connect others. One gets its own webhook secret.

    Returns that account's id.
    """
    service = recorder.service
    account = await service.connect()
    await service.connect(zoom_email=WIL)
    handle = await start_connect(service, "admin", COMMUNITY["slug"], ADA)
    await service.post("owner", f"{ZOOM}/connect/confirm", {"handle": handle})
    await service.post("admin", f"{ZOOM}/connect/confirm", {"handle": handle})
    await service.post("admin", f"{ZOOM}/connect/confirm", {"handle": handle})
    begun = (await service.post("admin", f"{ZOOM}/connect")).json()["authorize_url"]
    denied = {name: values[0] for name, values in parse_qs(urlsplit(begun).query).items()}
    back = await service.zoom.get(begun, params=denied | {"as": ADA, "decision": "deny"})
    await service.api.get(back.headers["location"])
    await service.api.get(
        "/api/integrations/zoom/callback", params={"state": recorder.plant_secret("forged state"), "code": "x"}
    )
    await service.api.get(
        "/api/integrations/zoom/callback", params={"code": recorder.plant_secret("code without state")}
    )
    own_secret = recorder.plant_secret("webhook secret of an account")
    set_ = await service.call(
        "admin", "PUT", f"{ZOOM}/accounts/{account['id']}/webhook-secret", json={"secret": own_secret}
    )
    assert set_.status_code == 200
    riverside = (await service.zoom.get("/simulator/state")).json()["accounts"][0]["id"]
    url = f"{service.settings.public_url}/api/integrations/zoom/webhooks/{account['id']}"
    subscribed = {"account_id": riverside, "url": url, "secret": own_secret}
    (await service.zoom.put("/simulator/webhooks", json=subscribed)).raise_for_status()
    return str(account["id"])


async def schedule_events(recorder: Recorder) -> tuple[Any, Any]:
    """Schedule an event with personal links, one on an account without them, and others."""
    service = recorder.service
    event = await service.create_event(title="Evening <script>alert(1)</script> & tea")
    unlicensed = await service.create_event(title="Open table", host_id=(await service.hosts())[WIL]["id"])
    assert event["zoom"]["protected"]
    assert not unlicensed["zoom"]["protected"]
    native = (await service.post("admin", f"{BASE}/events", event_body(service))).json()
    starts = {"starts_at": event["starts_at"], "ends_at": event["ends_at"], "host_id": event["host_id"]}
    busy = await service.post("admin", f"{BASE}/events", event_body(service, delivery_mode="zoom", **starts))
    assert busy.status_code == 409
    for change in (
        {"delivery_mode": "zoom", "host_id": (await service.hosts())["ben@riverside.example"]["id"]},
        {"delivery_mode": "native"},
    ):
        changed = await service.patch("admin", f"/api/events/{native['id']}", change)
        assert changed.status_code == 200, changed.text
        await service.wait_idle()
    return event, unlicensed


async def rsvp(recorder: Recorder, event: Any, open_event: Any) -> None:
    """RSVP as members, for others, and as the host, whom Zoom refuses."""
    service = recorder.service
    for who, status in (
        ("member", "going"),
        ("member2", "going"),
        ("member2", "maybe"),
        ("coach", "going"),
        ("admin", "going"),
    ):
        for each in (event, open_event):
            put = await service.call(who, "PUT", f"/api/events/{each['id']}/rsvp", json={"status": status})
            assert put.status_code == 200, put.text
        await service.wait_idle()
    guest = {"status": "going", "name": "Gustav Guest", "email": "gustav@guests.example"}
    behalf = await service.call("admin", "PUT", f"/api/events/{event['id']}/registrations/m-guest", json=guest)
    assert behalf.status_code == 200, behalf.text
    recorder.secrets += [Secret("name", "Gustav Guest", PERSONAL), Secret("e-mail", "gustav@guests.example", PERSONAL)]
    invited = await service.post("admin", f"/api/events/{event['id']}/guests", GUEST)
    assert invited.status_code == 201, invited.text
    recorder.secrets += [Secret("name", GUEST["name"], PERSONAL), Secret("e-mail", GUEST["email"], PERSONAL)]
    await service.call("coach", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "not_going"})
    await service.patch("admin", f"/api/events/{event['id']}", {"title": "Evening <b>tea</b>", "description": "Come."})
    await service.post("member", f"/api/events/{event['id']}/invite")
    await service.wait_idle()


async def read_everything(recorder: Recorder, event_id: str, account_id: str) -> None:
    """Read everything that can be read, as every persona and without a valid token."""
    service = recorder.service
    paths = [
        ZOOM,
        f"{ZOOM}/hosts",
        f"{ZOOM}/accounts/{account_id}/preflight",
        f"{BASE}/spaces",
        f"{BASE}/events",
        "/api/me/events",
        "/api/me/events?role=hosting",
        f"/api/events/{event_id}",
        f"/api/events/{event_id}/registrations",
        f"/api/events/{event_id}/guests",
        f"/api/events/{event_id}/attendance",
        f"/api/events/{event_id}/invite.ics",
    ]
    for path in paths:
        for who in (None, *PERSONAS):
            assert (await service.get(who, path)).status_code < 500
    for caller in all_callers(service, "https://elsewhere.example/jwks.json"):
        await service.api.get(f"/api/events/{event_id}", headers=dict(caller.headers))
        cookie = dict(caller.headers).get("Cookie", "")
        if cookie:
            recorder.secrets.append(Secret("platform token", cookie.removeprefix("session=")))
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert (await service.get(None, path)).status_code == 200


async def join(recorder: Recorder, event: Any, open_event: Any) -> None:
    """Open the events: members join, others are refused, the host starts the meeting."""
    service = recorder.service
    number = event["zoom"]["meeting_id"]
    mine = f"/api/events/{event['id']}"
    await service.post("member", f"{mine}/zoom-join")
    await service.advance_clock(timedelta(hours=23, minutes=49))
    ticket = await recorder.click("member", event["id"])
    await service.call(None, "HEAD", ticket)
    await service.get(None, ticket, headers={"Sec-Purpose": "prefetch"})
    await service.get("member2", ticket)
    await recorder.follow_ticket("member", ticket, await recorder.personal_link(number, "member@members.example"))
    await service.get(None, ticket)
    await service.get(None, ticket, headers={"Accept": "text/html"})
    await recorder.follow_ticket(
        None,
        await recorder.click("member", open_event["id"]),
        await recorder.general_link(open_event["zoom"]["meeting_id"]),
    )
    for who in (None, *PERSONAS):
        for accept in ("application/json", "text/html"):
            await service.post(who, f"{mine}/zoom-join", headers={"Accept": accept})
    links = await service.resources.db.pool.fetch("SELECT join_link, member_id FROM registrations")
    for row in links:
        for who in (None, "member", "stranger"):
            await service.get(who, f"/join/{row['join_link']}", headers={"Accept": "text/html"})
    start = await recorder.click("admin", event["id"], "zoom-start")
    before = len(await recorder.zoom_secrets())
    started = await service.get("admin", start)
    fresh = [secret.value for secret in (await recorder.zoom_secrets())[before:] if secret.kind == "start_url"]
    assert started.headers["location"] in fresh
    recorder.responses[-1] = (started, frozenset({started.headers["location"]}))


async def join_as_guest(recorder: Recorder, event: Any) -> None:
    """Follow the invitation's link as a guest: request a code, enter a wrong and the right one, join."""
    service = recorder.service
    page = {"Accept": "text/html", "Origin": recorder.service.settings.public_url}
    link = find_in_last_mail(service, GUEST["email"], r"/guest/[\w-]+")
    await service.get(None, link, headers=page)
    await service.post(None, f"{link}/code", headers=page)
    await service.wait_idle()
    code = find_in_last_mail(service, GUEST["email"], r"\b\d{6}\b")
    for typed in ("not it", code):
        await service.api.post(link, data={"code": typed}, headers=page)
    entered = await service.get(None, link, headers=page)
    assert entered.status_code == 303, entered.text
    mine = await recorder.personal_link(event["zoom"]["meeting_id"], GUEST["email"])
    await recorder.follow_ticket(None, entered.headers["location"], mine)
    service.api.cookies.clear()


async def receive_notifications(recorder: Recorder, event: Any, account_id: str) -> None:
    """Let Zoom notify of a start and of more.

    With passcodes, links, stream keys, unknown ids, unsigned, and broken.
    """
    service = recorder.service
    number = event["zoom"]["meeting_id"]
    await service.advance_clock(timedelta(minutes=12))  # an instance that ends before the event begins was a rehearsal
    for what in ("start", "end", "start"):
        (await service.zoom.post(f"/simulator/meetings/{number}/{what}")).raise_for_status()
        await service.wait_idle()
    link = await recorder.personal_link(number, "member@members.example")
    (await service.zoom.post(f"/simulator/meetings/{number}/join", json={"join_url": link})).raise_for_status()
    meeting = {
        "id": number,
        "uuid": "c2VjcmV0IG1lZXRpbmc=",
        "topic": "Evening tea",
        "password": recorder.plant_secret("passcode in a notification"),
        "join_url": recorder.plant_secret(
            "link in a notification", f"https://zoom.us/j/1?pwd={secrets.token_urlsafe(30)}"
        ),
        "start_url": recorder.plant_secret(
            "start link in a notification", f"https://zoom.us/s/1?zak={secrets.token_urlsafe(60)}"
        ),
        "live_streaming": {"stream_key": recorder.plant_secret("stream key"), "stream_url": "rtmps://live.example"},
        "participant": {"user_name": "Mia Member", "email": "member@members.example"},
    }
    payload = {"object": meeting, "download_token": recorder.plant_secret("download token")}
    for kind in (
        "meeting.started",
        "meeting.updated",
        "recording.completed",
        "meeting.registration_created",
        "unheard.of",
    ):
        assert await recorder.send_notification(kind, payload) in {200, 204}
        assert (
            await recorder.send_notification(kind, payload, secret="wrong-secret-of-nobody") == 401
        )  # not a secret of ours
        assert await recorder.send_notification(kind, payload, timestamp="1000000000") == 401
    own = f"{service.settings.public_url}/api/integrations/zoom/webhooks/{account_id}"
    assert await recorder.send_notification("meeting.ended", payload | {"account_id": "somebody-else"}, url=own) in {
        204,
        401,
    }
    for broken in (b"\xff\xfe", b"[]", b"{", json.dumps({"event": 7, "payload": payload}).encode()):
        assert await recorder.send_notification("broken", {}, body=broken.decode("latin-1")) < 500
    await service.zoom.post("/simulator/webhooks/validate")
    await service.wait_idle()
    await read_attendance(recorder, event["id"])


async def read_attendance(recorder: Recorder, event_id: str) -> None:
    """Read the attendance in every form. Assign a participant to a member, and undo it."""
    service = recorder.service
    path = f"/api/events/{event_id}/attendance"
    for form in ("json", "csv", "svg"):
        read = await service.get("admin", path, params={"format": form})
        assert read.status_code == 200, read.text
    came = (await service.get("admin", path)).json()["items"]
    for member_id in ("m-member2", None):
        session = f"{path}/{came[0]['sessions'][0]['id']}"
        assert (await service.call("admin", "PUT", session, json={"member_id": member_id})).status_code == 200


async def disconnect_accounts(recorder: Recorder, event: Any, account_id: str) -> None:
    """End both accounts: disconnect one here, and remove the app from the other inside Zoom."""
    service = recorder.service
    gone = await service.call("admin", "DELETE", f"{ZOOM}/accounts/{account_id}")
    assert gone.status_code == 204, gone.text
    (await service.zoom.post("/simulator/deauthorize", json={"user": WIL})).raise_for_status()
    await service.wait_idle()
    await service.get("admin", ZOOM)
    await service.get("admin", f"{BASE}/events")
    await service.post("member", f"/api/events/{event['id']}/zoom-join", headers={"Accept": "text/html"})
