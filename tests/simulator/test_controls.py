from typing import Any

from tests.simulator.driver import ADA, BEN, WIL, ZoomDriver


async def test_the_journal_tells_every_request_and_no_secret(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(password="my-code-1")
    added = (await connected.add(meeting["id"])).json()
    await connected.http.get(added["join_url"])
    await connected.http.get(meeting["start_url"])
    tokens = await connected.connect()
    await connected.refresh(tokens["refresh_token"])
    answer = await connected.http.get("/simulator/journal")
    entries = answer.json()
    assert entries[0]["path"] == "/oauth/authorize"
    assert [entry["operation"] for entry in entries[:4]] == [
        "oauthAuthorize",
        "oauthToken",
        "meetingCreate",
        "meetingRegistrantCreate",
    ]
    created = entries[2]
    assert (created["method"], created["status"]) == ("POST", 201)
    assert created["body"]["topic"] == "Choir"
    assert created["at"]
    secrets = {secret["value"] for secret in await connected.control("GET", "/secrets")}
    assert not [secret for secret in secrets if secret in answer.text]
    assert "client-secret" not in answer.text


async def test_every_secret_that_was_issued_is_remembered(connected: ZoomDriver) -> None:
    tokens = await connected.connect()
    meeting = await connected.meeting()
    added = (await connected.add(meeting["id"])).json()
    issued = await connected.control("GET", "/secrets")
    values = {secret["value"] for secret in issued}
    assert {secret["kind"] for secret in issued} == {
        "code",
        "access_token",
        "refresh_token",
        "passcode",
        "pwd",
        "join_url",
        "zak",
        "start_url",
        "tk",
        "registrant_join_url",
    }
    assert {
        tokens["access_token"],
        tokens["refresh_token"],
        meeting["password"],
        meeting["join_url"],
        meeting["start_url"],
        added["join_url"],
    } <= values


async def test_the_state_shows_everything_but_tokens(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(BEN)
    added = (await connected.add(meeting["id"])).json()
    answer = await connected.http.get("/simulator/state")
    state = answer.json()
    assert [account["name"] for account in state["accounts"]] == ["Riverside", "Willow"]
    (shown,) = state["meetings"]
    assert shown["id"] == meeting["id"]
    assert shown["registrants"][0]["join_url"] == added["join_url"]
    (grant,) = state["grants"]
    assert grant["alive"]
    assert connected.token not in answer.text


async def test_reset_brings_back_the_start(connected: ZoomDriver) -> None:
    await connected.meeting()
    await connected.control("PUT", "/clock", {"seconds": 9})
    await connected.control("PUT", "/faults", {"latency_seconds": 1})
    await connected.control("PUT", "/switches", {"object_id": "string"})
    await connected.control("PUT", "/app", {"scopes": ["user:read:user"]})
    await connected.control("POST", "/reset")
    state = await connected.control("GET", "/state")
    assert (state["meetings"], state["grants"], state["faults"]["latency_seconds"]) == ([], [], 0)
    assert state["switches"]["object_id"] == "documented"
    assert "user:read:user:admin" in state["scopes"]
    assert await connected.control("GET", "/journal") == []
    assert (await connected.call("GET", "/users/me")).json()["code"] == 124


async def test_one_more_account_can_be_made(zoom: ZoomDriver) -> None:
    users = [{"email": "uma@hill.example", "type": 1}, {"email": "val@hill.example", "role": "admin"}]
    made = await zoom.control("POST", "/accounts", {"name": "Hill", "plan": "pro", "users": users})
    assert [user["role"] for user in made["users"]] == ["owner", "admin"]
    await zoom.connect("val@hill.example")
    assert (await zoom.call("GET", "/users/me")).json()["account_id"] == made["id"]
    again = await zoom.http.post("/simulator/accounts", json={"name": "Other", "users": users})
    assert again.status_code == 409
    assert "uma@hill.example" in again.text


async def test_two_accounts_do_not_see_each_other(zoom: ZoomDriver) -> None:
    await zoom.connect(WIL)
    meeting = await zoom.meeting(WIL)
    await zoom.connect(ADA)
    assert (await zoom.call("GET", f"/meetings/{meeting['id']}")).json()["code"] == 3001


async def test_wrong_switches_are_refused_by_name(zoom: ZoomDriver) -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"object_id": "float"}, "object_id"),
        ({"objectid": "string"}, "objectid"),
    )
    for change, name in wrong:
        answer = await zoom.http.put("/simulator/switches", json=change)
        assert answer.status_code == 422
        assert name in answer.text
    assert (await zoom.control("GET", "/switches"))["object_id"] == "documented"


async def test_joining_a_meeting_follows_zooms_rules(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(settings={"approval_type": 1, "alternative_hosts": BEN})
    added = (await connected.add(meeting["id"])).json()
    path = f"/simulator/meetings/{meeting['id']}"
    mia = {"join_url": added["join_url"]}
    early = await connected.http.post(f"{path}/join", json=mia)
    assert (early.status_code, early.json()["detail"]) == (
        409,
        "The meeting has not started: please wait for the host.",
    )
    assert (await connected.http.post(f"{path}/end")).status_code == 409
    assert (await connected.http.post(f"{path}/join", json={"name": "Ben", "email": BEN})).status_code == 200
    assert (await connected.http.post(f"{path}/start")).status_code == 409
    assert (await connected.http.post(f"{path}/join", json=mia)).json()["registrant_id"] == added["registrant_id"]
    second_device = await connected.http.post(f"{path}/join", json=mia)
    assert second_device.json()["detail"] == "This link is in use on another device."
    stranger = await connected.http.post(f"{path}/join", json={"name": "Somebody"})
    assert stranger.json()["detail"] == "The meeting requires registration."
    assert (await connected.http.post(f"{path}/leave", json=mia)).status_code == 200
    assert (await connected.http.post(f"{path}/leave", json=mia)).status_code == 404
    assert (await connected.http.post(f"{path}/join", json={})).status_code == 422
    made_up = {"join_url": f"http://zoom.test/w/{meeting['id']}?tk=x"}
    assert (await connected.http.post(f"{path}/join", json=made_up)).status_code == 404


async def test_a_cancelled_registrant_stays_outside(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    added = (await connected.add(meeting["id"])).json()
    body = {"action": "cancel", "registrants": [{"id": added["registrant_id"]}]}
    await connected.call("PUT", f"/meetings/{meeting['id']}/registrants/status", body)
    await connected.control("POST", f"/meetings/{meeting['id']}/start")
    refused = await connected.http.post(
        f"/simulator/meetings/{meeting['id']}/join", json={"join_url": added["join_url"]}
    )
    assert refused.json()["detail"] == "The registration is cancelled."


async def test_without_registration_guests_join_and_may_begin_where_allowed(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(settings={"join_before_host": True})
    joined = await connected.control("POST", f"/meetings/{meeting['id']}/join", {"name": "Gus", "email": "g@u.example"})
    assert (joined["email"], joined["registrant_id"]) == ("", None)
    assert (await connected.call("GET", f"/meetings/{meeting['id']}")).json()["status"] == "started"


async def test_join_before_host_can_be_limited_to_the_last_minutes(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(settings={"join_before_host": True, "jbh_time": 10})
    early = await connected.http.post(f"/simulator/meetings/{meeting['id']}/join", json={"name": "Gus"})
    assert early.status_code == 409


async def test_the_controls_explain_themselves(zoom: ZoomDriver) -> None:
    paths = (await zoom.http.get("/openapi.json")).json()["paths"]
    assert {"/simulator/journal", "/simulator/faults", "/simulator/meetings/{meeting_id}/join"} <= paths.keys()
    assert (await zoom.http.get("/docs")).status_code == 200
