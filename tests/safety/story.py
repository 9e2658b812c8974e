"""A long life of the service: everything it does at this stage, in order, things that go wrong included."""

import json
import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.living import CAST, COMMUNITY
from tests.safety.callers import everybody
from tests.safety.life import ADA, BASE, GUEST, PERSONAL, WIL, ZOOM, Life, mailed
from tests.safety.scene import consented, new_event
from tests.safety.search import Secret
from tests.safety.trouble import come_back_later, go_wrong, go_wrong_here, renew


async def live(life: Life) -> None:
    """The whole life, in order."""
    riverside = await begin(life)
    event, open_event = await schedule(life)
    await answer(life, event, open_event)
    await look(life, event["id"], riverside)
    await go_wrong(life, event)
    await go_wrong_here(life, event)
    await come_in(life, event, open_event)
    await come_in_as_a_guest(life, event)
    await hear(life, event, riverside)
    await renew(life, event)
    await come_back_later(life, event)
    await end(life, event, riverside)


async def begin(life: Life) -> str:
    """Two accounts are connected, others are not; one gets a secret of its own. Returns that account's id."""
    living = life.living
    account = await living.connect()
    await living.connect(as_=WIL)
    handle = await consented(living, "admin", COMMUNITY["slug"], ADA)
    await living.post("owner", f"{ZOOM}/connect/confirm", {"handle": handle})
    await living.post("admin", f"{ZOOM}/connect/confirm", {"handle": handle})
    await living.post("admin", f"{ZOOM}/connect/confirm", {"handle": handle})
    begun = (await living.post("admin", f"{ZOOM}/connect")).json()["authorize_url"]
    denied = {name: values[0] for name, values in parse_qs(urlsplit(begun).query).items()}
    back = await living.zoom.get(begun, params=denied | {"as": ADA, "decision": "deny"})
    await living.api.get(back.headers["location"])
    await living.api.get("/api/integrations/zoom/callback", params={"state": life.plant("forged state"), "code": "x"})
    await living.api.get("/api/integrations/zoom/callback", params={"code": life.plant("code without state")})
    own_secret = life.plant("webhook secret of an account")
    set_ = await living.call(
        "admin", "PUT", f"{ZOOM}/accounts/{account['id']}/webhook-secret", json={"secret": own_secret}
    )
    assert set_.status_code == 200
    riverside = (await living.zoom.get("/simulator/state")).json()["accounts"][0]["id"]
    url = f"{living.settings.public_url}/api/integrations/zoom/webhooks/{account['id']}"
    subscribed = {"account_id": riverside, "url": url, "secret": own_secret}
    (await living.zoom.put("/simulator/webhooks", json=subscribed)).raise_for_status()
    return str(account["id"])


async def schedule(life: Life) -> tuple[Any, Any]:
    """An event with personal links, and one on an account that has none; others besides."""
    living = life.living
    event = await living.event(title="Evening <script>alert(1)</script> & tea")
    unlicensed = await living.event(title="Open table", host_id=(await living.hosts())[WIL]["id"])
    assert event["zoom"]["protected"]
    assert not unlicensed["zoom"]["protected"]
    native = (await living.post("admin", f"{BASE}/events", new_event(living))).json()
    starts = {"starts_at": event["starts_at"], "ends_at": event["ends_at"], "host_id": event["host_id"]}
    busy = await living.post("admin", f"{BASE}/events", new_event(living, delivery_mode="zoom", **starts))
    assert busy.status_code == 409
    for change in (
        {"delivery_mode": "zoom", "host_id": (await living.hosts())["ben@riverside.example"]["id"]},
        {"delivery_mode": "native"},
    ):
        changed = await living.patch("admin", f"/api/events/{native['id']}", change)
        assert changed.status_code == 200, changed.text
        await living.quiet()
    return event, unlicensed


async def answer(life: Life, event: Any, open_event: Any) -> None:
    """Members come, change their minds, are put down by others; the host answers too, whom Zoom refuses."""
    living = life.living
    for who, status in (
        ("member", "going"),
        ("member2", "going"),
        ("member2", "maybe"),
        ("coach", "going"),
        ("admin", "going"),
    ):
        for each in (event, open_event):
            put = await living.call(who, "PUT", f"/api/events/{each['id']}/rsvp", json={"status": status})
            assert put.status_code == 200, put.text
        await living.quiet()
    guest = {"status": "going", "name": "Gustav Guest", "email": "gustav@guests.example"}
    behalf = await living.call("admin", "PUT", f"/api/events/{event['id']}/registrations/m-guest", json=guest)
    assert behalf.status_code == 200, behalf.text
    life.secrets += [Secret("name", "Gustav Guest", PERSONAL), Secret("e-mail", "gustav@guests.example", PERSONAL)]
    invited = await living.post("admin", f"/api/events/{event['id']}/guests", GUEST)
    assert invited.status_code == 201, invited.text
    life.secrets += [Secret("name", GUEST["name"], PERSONAL), Secret("e-mail", GUEST["email"], PERSONAL)]
    await living.call("coach", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "not_going"})
    await living.patch("admin", f"/api/events/{event['id']}", {"title": "Evening <b>tea</b>", "description": "Come."})
    await living.post("member", f"/api/events/{event['id']}/invite")
    await living.quiet()


async def look(life: Life, event_id: str, account_id: str) -> None:
    """Everything that can be read, by everybody of the cast, and by everyone who is nobody."""
    living = life.living
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
        for who in (None, *CAST):
            assert (await living.get(who, path)).status_code < 500
    for caller in everybody(living, "https://elsewhere.example/jwks.json"):
        await living.api.get(f"/api/events/{event_id}", headers=dict(caller.headers))
        cookie = dict(caller.headers).get("Cookie", "")
        if cookie:
            life.secrets.append(Secret("platform token", cookie.removeprefix("session=")))
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert (await living.get(None, path)).status_code == 200


async def come_in(life: Life, event: Any, open_event: Any) -> None:
    """The doors open: people come in, others are turned away, the host starts."""
    living = life.living
    number, mine = event["zoom"]["meeting_id"], f"/api/events/{event['id']}"
    await living.post("member", f"{mine}/zoom-join")
    await living.forward(timedelta(hours=23, minutes=49))
    ticket = await life.click("member", event["id"])
    await living.call(None, "HEAD", ticket)
    await living.get(None, ticket, headers={"Sec-Purpose": "prefetch"})
    await living.get("member2", ticket)
    await life.opened("member", ticket, await life.link_of(number, "member@members.example"))
    await living.get(None, ticket)
    await living.get(None, ticket, headers={"Accept": "text/html"})
    await life.opened(
        None, await life.click("member", open_event["id"]), await life.meeting_link(open_event["zoom"]["meeting_id"])
    )
    for who in (None, *CAST):
        for accept in ("application/json", "text/html"):
            await living.post(who, f"{mine}/zoom-join", headers={"Accept": accept})
    links = await living.held.db.hot.fetch("SELECT join_link, member_id FROM registrations")
    for row in links:
        for who in (None, "member", "stranger"):
            await living.get(who, f"/join/{row['join_link']}", headers={"Accept": "text/html"})
    start = await life.click("admin", event["id"], "zoom-start")
    before = len(await life.issued())
    started = await living.get("admin", start)
    fresh = [secret.value for secret in (await life.issued())[before:] if secret.kind == "start_url"]
    assert started.headers["location"] in fresh
    life.answers[-1] = (started, frozenset({started.headers["location"]}))


async def come_in_as_a_guest(life: Life, event: Any) -> None:
    """A guest's browser follows the link of the invite, has a code mailed, types it, first wrongly, and comes in."""
    living, page = life.living, {"Accept": "text/html", "Origin": life.living.settings.public_url}
    link = mailed(living, GUEST["email"], r"/guest/[\w-]+")
    await living.get(None, link, headers=page)
    await living.post(None, f"{link}/code", headers=page)
    await living.quiet()
    code = mailed(living, GUEST["email"], r"\b\d{6}\b")
    for typed in ("not it", code):
        await living.api.post(link, data={"code": typed}, headers=page)
    entered = await living.get(None, link, headers=page)
    assert entered.status_code == 303, entered.text
    mine = await life.link_of(event["zoom"]["meeting_id"], GUEST["email"])
    await life.opened(None, entered.headers["location"], mine)
    living.api.cookies.clear()


async def hear(life: Life, event: Any, account_id: str) -> None:
    """Zoom says that it began, and more: with passcodes, links, stream keys, for nobody, unsigned, and broken."""
    living = life.living
    number = event["zoom"]["meeting_id"]
    await living.forward(timedelta(minutes=12))  # what ended before the event began was a rehearsal
    for what in ("start", "end", "start"):
        (await living.zoom.post(f"/simulator/meetings/{number}/{what}")).raise_for_status()
        await living.quiet()
    link = await life.link_of(number, "member@members.example")
    (await living.zoom.post(f"/simulator/meetings/{number}/join", json={"join_url": link})).raise_for_status()
    about = {
        "id": number,
        "uuid": "c2VjcmV0IG1lZXRpbmc=",
        "topic": "Evening tea",
        "password": life.plant("passcode in a notification"),
        "join_url": life.plant("link in a notification", f"https://zoom.us/j/1?pwd={secrets.token_urlsafe(30)}"),
        "start_url": life.plant("start link in a notification", f"https://zoom.us/s/1?zak={secrets.token_urlsafe(60)}"),
        "live_streaming": {"stream_key": life.plant("stream key"), "stream_url": "rtmps://live.example"},
        "participant": {"user_name": "Mia Member", "email": "member@members.example"},
    }
    said = {"object": about, "download_token": life.plant("download token")}
    for kind in (
        "meeting.started",
        "meeting.updated",
        "recording.completed",
        "meeting.registration_created",
        "unheard.of",
    ):
        assert await life.zoom_says(kind, said) in {200, 204}
        assert await life.zoom_says(kind, said, secret="wrong-secret-of-nobody") == 401  # not a secret of ours
        assert await life.zoom_says(kind, said, timestamp="1000000000") == 401
    own = f"{living.settings.public_url}/api/integrations/zoom/webhooks/{account_id}"
    assert await life.zoom_says("meeting.ended", said | {"account_id": "somebody-else"}, url=own) in {204, 401}
    for broken in (b"\xff\xfe", b"[]", b"{", json.dumps({"event": 7, "payload": said}).encode()):
        assert await life.zoom_says("broken", {}, body=broken.decode("latin-1")) < 500
    await living.zoom.post("/simulator/webhooks/validate")
    await living.quiet()
    await read_attendance(life, event["id"])


async def read_attendance(life: Life, event_id: str) -> None:
    """Who came, in every form; one of them is assigned to a member, and that is taken back."""
    living, path = life.living, f"/api/events/{event_id}/attendance"
    for form in ("json", "csv", "svg"):
        read = await living.get("admin", path, params={"format": form})
        assert read.status_code == 200, read.text
    came = (await living.get("admin", path)).json()["items"]
    for member_id in ("m-member2", None):
        session = f"{path}/{came[0]['sessions'][0]['id']}"
        assert (await living.call("admin", "PUT", session, json={"member_id": member_id})).status_code == 200


async def end(life: Life, event: Any, account_id: str) -> None:
    """The accounts go: one disconnected here, one removed inside Zoom."""
    living = life.living
    gone = await living.call("admin", "DELETE", f"{ZOOM}/accounts/{account_id}")
    assert gone.status_code == 204, gone.text
    (await living.zoom.post("/simulator/deauthorize", json={"user": WIL})).raise_for_status()
    await living.quiet()
    await living.get("admin", ZOOM)
    await living.get("admin", f"{BASE}/events")
    await living.post("member", f"/api/events/{event['id']}/zoom-join", headers={"Accept": "text/html"})
