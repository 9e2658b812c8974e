"""Failures during the recorded run: of Zoom, of the database, of tokens, and changes made inside Zoom."""

import secrets
from datetime import timedelta
from typing import Any

from tests.scenarios.security.fixtures import event_body
from tests.scenarios.security.recorder import ADA, BASE, PERSONAL, ZOOM, Recorder, in_days
from tests.scenarios.security.secret_search import Secret


async def zoom_failures(recorder: Recorder, event: Any) -> None:
    """Let Zoom respond with errors that repeat the request, with HTML pages, late, and not at all."""
    service = recorder.service
    token = recorder.plant_secret("token in an error")
    link = recorder.plant_secret("link in an error", f"https://zoom.us/w/1?tk={secrets.token_urlsafe(40)}")
    message = f"Invalid access token {token} for mia@riverside.example, see {link}"
    recorder.secrets.append(Secret("e-mail", "mia@riverside.example", PERSONAL))
    body = {"code": 300, "message": message, "errors": [{"field": "settings.tk", "message": message}]}
    host = (await service.hosts())["ben@riverside.example"]["id"]
    faults: list[dict[str, Any]] = [
        {"kind": "status", "status": 400, "body": body},
        {"kind": "status", "status": 500, "body": {"code": 500, "message": message}},
        {"kind": "status", "status": 502},
        *({"kind": kind} for kind in ("lose_answer", "expired_token", "rate_per_second")),
    ]
    for day, fault in enumerate(faults, start=3):
        await recorder.set_call_faults({"operation": "meetingCreate", "times": 2, **fault})
        starts = service.clock.now() + timedelta(days=day)
        times = {"starts_at": starts.isoformat(), "ends_at": (starts + timedelta(hours=1)).isoformat()}
        made = await service.post(
            "admin", f"{BASE}/events", event_body(service, delivery_mode="zoom", host_id=host, **times)
        )
        assert made.status_code == 201, made.text
        await service.wait_idle()
        await service.get("admin", f"/api/events/{made.json()['id']}")
        await service.post("admin", f"/api/events/{made.json()['id']}/zoom/sync")
        await service.wait_idle()
    await recorder.set_call_faults(
        {"operation": "meetingRegistrantCreate", "kind": "status", "status": 400, "body": body, "times": None}
    )
    await service.call("owner", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    await service.wait_idle()
    await service.get("owner", f"/api/events/{event['id']}")
    await recorder.set_call_faults()


async def database_failures(recorder: Recorder, event: Any) -> None:
    """Let the database refuse rows with errors that contain their values, which makes 500s."""
    service = recorder.service
    for table in ("registrations", "registrants", "meetings"):
        await service.resources.db.pool.execute(f"ALTER TABLE {table} ADD CONSTRAINT never CHECK (false) NOT VALID")
        for number in range(2):
            email = f"nelly-{number}-{table}@members.example"
            name = {"name": "Nelly Newcomer", "sub": f"m-{number}-{table}", "email": email}
            token = service.platform.token("owner", service.clock.now(), **name)
            recorder.secrets += [Secret("name", name["name"], PERSONAL), Secret("e-mail", name["email"], PERSONAL)]
            put = await service.call(
                None,
                "PUT",
                f"/api/events/{event['id']}/rsvp",
                json={"status": "going"},
                headers={"Authorization": f"Bearer {token}"},
            )
            assert put.status_code == (500 if table == "registrations" else 200)
        await service.patch("admin", f"/api/events/{event['id']}", {"description": f"No {table}."})
        await service.wait_idle()
        shown = (await service.get("admin", f"/api/events/{event['id']}")).json()
        assert "SQL" not in str(shown["zoom"]["last_error"])
        await service.resources.db.pool.execute(f"ALTER TABLE {table} DROP CONSTRAINT never")
    await service.advance_clock(timedelta(minutes=1))
    await service.wait_idle()


async def token_failures(recorder: Recorder, event: Any) -> None:
    """Let tokens expire and be refreshed; then let Zoom reject the grant; then reconnect."""
    service = recorder.service
    await service.advance_clock(timedelta(hours=26))
    await service.patch("admin", f"/api/events/{event['id']}", {"description": "Come again."})
    await service.wait_idle()
    await recorder.set_call_faults({"operation": "*", "kind": "expired_token", "times": 4})
    later = await service.create_event(title="Later", **in_days(service, 20))
    await recorder.set_call_faults()
    (await service.zoom.post("/simulator/deauthorize", json={"user": ADA, "notify": False})).raise_for_status()
    await service.advance_clock(timedelta(hours=2))
    await service.patch("admin", f"/api/events/{later['id']}", {"title": "Later still"})
    await service.wait_idle()
    card = (await service.get("admin", ZOOM)).json()
    assert "needs_reauth" in {account["status"] for account in card["accounts"]}
    await service.get("admin", f"/api/events/{later['id']}")
    await service.post("admin", f"/api/events/{later['id']}/zoom-start", headers={"Accept": "text/html"})
    await service.connect()


async def meeting_failures(recorder: Recorder, event: Any) -> None:
    """Delete a meeting inside Zoom, let a host's start fail, cancel an event and delete one."""
    service = recorder.service
    later = await service.create_event(title="Deleted inside Zoom", **in_days(service, 9))
    await service.call("member", "PUT", f"/api/events/{later['id']}/rsvp", json={"status": "going"})
    await service.wait_idle()
    echo = recorder.plant_secret("start link in an error", f"https://zoom.us/s/2?zak={secrets.token_urlsafe(60)}")
    start = await recorder.click("admin", later["id"], "zoom-start")
    await recorder.set_call_faults(
        {"operation": "meeting", "kind": "status", "status": 500, "body": {"message": echo, "start_url": echo}}
    )
    await service.get("admin", start, headers={"Accept": "text/html"})
    await recorder.set_call_faults()
    await service.zoom.post(f"/simulator/meetings/{later['zoom']['meeting_id']}/delete")
    await service.wait_idle()
    await service.get("member", f"/api/events/{later['id']}")
    await service.post("admin", f"/api/events/{later['id']}/cancel")
    await service.call("admin", "DELETE", f"/api/events/{event['id']}")
    await service.wait_idle()
