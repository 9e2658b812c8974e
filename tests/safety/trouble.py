"""What goes wrong in a long life: at Zoom, in the database, with tokens, and behind our back."""

import secrets
from datetime import timedelta
from typing import Any

from tests.safety.life import ADA, BASE, PERSONAL, ZOOM, Life, in_days
from tests.safety.scene import new_event
from tests.safety.search import Secret


async def go_wrong(life: Life, event: Any) -> None:
    """Zoom answers with errors that repeat what they were asked, with pages, late, and not at all."""
    living = life.living
    token, link = (
        life.plant("token in an error"),
        life.plant("link in an error", f"https://zoom.us/w/1?tk={secrets.token_urlsafe(40)}"),
    )
    message = f"Invalid access token {token} for mia@riverside.example, see {link}"
    life.secrets.append(Secret("e-mail", "mia@riverside.example", PERSONAL))
    body = {"code": 300, "message": message, "errors": [{"field": "settings.tk", "message": message}]}
    host = (await living.hosts())["ben@riverside.example"]["id"]
    faults: list[dict[str, Any]] = [
        {"kind": "status", "status": 400, "body": body},
        {"kind": "status", "status": 500, "body": {"code": 500, "message": message}},
        {"kind": "status", "status": 502},
        *({"kind": kind} for kind in ("lose_answer", "expired_token", "rate_per_second")),
    ]
    for day, fault in enumerate(faults, start=3):
        await life.goes_wrong({"operation": "meetingCreate", "times": 2, **fault})
        starts = living.clock.now() + timedelta(days=day)
        times = {"starts_at": starts.isoformat(), "ends_at": (starts + timedelta(hours=1)).isoformat()}
        made = await living.post(
            "admin", f"{BASE}/events", new_event(living, delivery_mode="zoom", host_id=host, **times)
        )
        assert made.status_code == 201, made.text
        await living.quiet()
        await living.get("admin", f"/api/events/{made.json()['id']}")
        await living.post("admin", f"/api/events/{made.json()['id']}/zoom/sync")
        await living.quiet()
    await life.goes_wrong(
        {"operation": "meetingRegistrantCreate", "kind": "status", "status": 400, "body": body, "times": None}
    )
    await living.call("owner", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    await living.quiet()
    await living.get("owner", f"/api/events/{event['id']}")
    await life.goes_wrong()


async def go_wrong_here(life: Life, event: Any) -> None:
    """The database refuses rows, and says in its errors what was in them: faults of ours."""
    living = life.living
    for table in ("registrations", "registrants", "meetings"):
        await living.held.db.hot.execute(f"ALTER TABLE {table} ADD CONSTRAINT never CHECK (false) NOT VALID")
        for number in range(2):
            email = f"nelly-{number}-{table}@members.example"
            name = {"name": "Nelly Newcomer", "sub": f"m-{number}-{table}", "email": email}
            token = living.platform.token("owner", living.clock.now(), **name)
            life.secrets += [Secret("name", name["name"], PERSONAL), Secret("e-mail", name["email"], PERSONAL)]
            put = await living.call(
                None,
                "PUT",
                f"/api/events/{event['id']}/rsvp",
                json={"status": "going"},
                headers={"Authorization": f"Bearer {token}"},
            )
            assert put.status_code == (500 if table == "registrations" else 200)
        await living.patch("admin", f"/api/events/{event['id']}", {"description": f"No {table}."})
        await living.quiet()
        shown = (await living.get("admin", f"/api/events/{event['id']}")).json()
        assert "SQL" not in str(shown["zoom"]["last_error"])
        await living.held.db.hot.execute(f"ALTER TABLE {table} DROP CONSTRAINT never")
    await living.forward(timedelta(minutes=1))
    await living.quiet()


async def renew(life: Life, event: Any) -> None:
    """Tokens run out and are exchanged for new ones; then Zoom wants no more of us; then it is connected again."""
    living = life.living
    await living.forward(timedelta(hours=26))
    await living.patch("admin", f"/api/events/{event['id']}", {"description": "Come again."})
    await living.quiet()
    await life.goes_wrong({"operation": "*", "kind": "expired_token", "times": 4})
    later = await living.event(title="Later", **in_days(living, 20))
    await life.goes_wrong()
    (await living.zoom.post("/simulator/deauthorize", json={"user": ADA, "notify": False})).raise_for_status()
    await living.forward(timedelta(hours=2))
    await living.patch("admin", f"/api/events/{later['id']}", {"title": "Later still"})
    await living.quiet()
    card = (await living.get("admin", ZOOM)).json()
    assert "needs_reauth" in {account["status"] for account in card["accounts"]}
    await living.get("admin", f"/api/events/{later['id']}")
    await living.post("admin", f"/api/events/{later['id']}/zoom-start", headers={"Accept": "text/html"})
    await living.connect()


async def come_back_later(life: Life, event: Any) -> None:
    """A meeting deleted inside Zoom, a host's start that fails, an event cancelled and one deleted."""
    living = life.living
    later = await living.event(title="Deleted inside Zoom", **in_days(living, 9))
    await living.call("member", "PUT", f"/api/events/{later['id']}/rsvp", json={"status": "going"})
    await living.quiet()
    echo = life.plant("start link in an error", f"https://zoom.us/s/2?zak={secrets.token_urlsafe(60)}")
    start = await life.click("admin", later["id"], "zoom-start")
    await life.goes_wrong(
        {"operation": "meeting", "kind": "status", "status": 500, "body": {"message": echo, "start_url": echo}}
    )
    await living.get("admin", start, headers={"Accept": "text/html"})
    await life.goes_wrong()
    await living.zoom.post(f"/simulator/meetings/{later['zoom']['meeting_id']}/delete")
    await living.quiet()
    await living.get("member", f"/api/events/{later['id']}")
    await living.post("admin", f"/api/events/{later['id']}/cancel")
    await living.call("admin", "DELETE", f"/api/events/{event['id']}")
    await living.quiet()
