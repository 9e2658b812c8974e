from tests.simulator.driver import ADA, BEN, CLEO, WIL, ZoomDriver

PROFILE = {
    "id", "email", "first_name", "last_name", "display_name", "account_id", "account_number", "type", "status",
    "role_id", "role_name", "pmi", "timezone", "language", "personal_meeting_url", "verified", "user_created_at",
    "license_info_list", "login_types", "group_ids", "jid",
}  # fmt: skip
LISTED = {
    "id", "email", "first_name", "last_name", "display_name", "type", "status", "role_id", "pmi", "timezone",
    "verified", "user_created_at", "last_login_time", "license_info_list",
}  # fmt: skip
ENVELOPE = {"next_page_token", "page_count", "page_number", "page_size", "total_records"}


async def test_me_is_who_approved(connected: ZoomDriver) -> None:
    answer = await connected.call("GET", "/users/me")
    profile = answer.json()
    assert profile.keys() >= PROFILE
    assert (profile["email"], profile["type"], profile["role_id"]) == (ADA, 2, "0")
    assert answer.headers["x-ratelimit-category"] == "Light"
    assert answer.headers["x-zm-trackingid"].startswith("v=2.0;clid=")


async def test_a_user_is_found_by_id_and_by_email(connected: ZoomDriver) -> None:
    by_email = (await connected.call("GET", "/users/BEN%40riverside.example")).json()
    assert (await connected.call("GET", f"/users/{by_email['id']}")).json() == by_email
    missing = await connected.call("GET", "/users/nobody")
    assert (missing.status_code, missing.json()) == (404, {"code": 1001, "message": "User does not exist: nobody."})


async def test_riverside_has_two_licensed_hosts_and_a_basic_one(connected: ZoomDriver) -> None:
    answer = (await connected.call("GET", "/users")).json()
    assert answer.keys() == ENVELOPE | {"users"}
    assert all(user.keys() >= LISTED for user in answer["users"])
    assert {user["email"]: user["type"] for user in answer["users"]} == {ADA: 2, BEN: 2, CLEO: 1}


async def test_users_are_paged_until_the_token_is_empty(connected: ZoomDriver) -> None:
    first = (await connected.call("GET", "/users", page_size="2")).json()
    assert len(first["users"]) == 2
    rest = await connected.call("GET", "/users", page_size="2", next_page_token=first["next_page_token"])
    assert [user["email"] for user in rest.json()["users"]] == [CLEO]
    assert rest.json()["next_page_token"] == ""


async def test_a_page_token_belongs_to_its_question_and_lives_fifteen_minutes(connected: ZoomDriver) -> None:
    token = (await connected.call("GET", "/users", page_size="2")).json()["next_page_token"]
    for query in ({"page_size": "1"}, {"page_size": "2", "status": "inactive"}):
        refused = await connected.call("GET", "/users", **query, next_page_token=token)
        assert refused.json() == {"code": 300, "message": "The next page token is invalid or expired."}
    await connected.control("PUT", "/clock", {"seconds": 15 * 60})
    assert (await connected.call("GET", "/users", page_size="2", next_page_token=token)).status_code == 400


async def test_a_page_is_at_most_three_hundred(connected: ZoomDriver) -> None:
    assert (await connected.call("GET", "/users", page_size="2000")).json()["page_size"] == 300
    await connected.control("PUT", "/switches", {"users_page_limit": 2000})
    assert (await connected.call("GET", "/users", page_size="2000")).json()["page_size"] == 2000
    assert (await connected.call("GET", "/users", page_size="many")).json()["code"] == 300


async def test_a_pending_user_has_no_id(zoom: ZoomDriver) -> None:
    users = [{"email": "olga@new.example"}, {"email": "pia@new.example", "status": "pending"}]
    await zoom.control("POST", "/accounts", {"name": "New", "plan": "pro", "users": users})
    await zoom.connect("olga@new.example")
    assert len((await zoom.call("GET", "/users")).json()["users"]) == 1
    (pending,) = (await zoom.call("GET", "/users", status="pending")).json()["users"]
    assert "id" not in pending


async def test_settings_tell_who_can_record_and_stream(zoom: ZoomDriver) -> None:
    await zoom.connect(ADA)
    ada = (await zoom.call("GET", "/users/me/settings")).json()
    assert ada.keys() >= {"recording", "in_meeting", "schedule_meeting", "feature"}
    assert ada["recording"]["cloud_recording"]
    assert ada["in_meeting"]["custom_live_streaming_service"]
    assert ada["feature"]["meeting_capacity"] == 300
    cleo = (await zoom.call("GET", f"/users/{CLEO}/settings")).json()
    assert not cleo["recording"]["cloud_recording"]
    await zoom.connect(WIL)
    assert not (await zoom.call("GET", "/users/me/settings")).json()["recording"]["cloud_recording"]


async def test_an_admin_changes_a_licence_in_the_web_portal(connected: ZoomDriver) -> None:
    await connected.control("PATCH", f"/users/{BEN}", {"type": 1})
    assert (await connected.call("GET", f"/users/{BEN}")).json()["type"] == 1
    assert not (await connected.call("GET", f"/users/{BEN}/settings")).json()["recording"]["cloud_recording"]
    await connected.control("PATCH", f"/users/{ADA}", {"settings": {"recording": {"cloud_recording": False}}})
    ada = (await connected.call("GET", "/users/me/settings")).json()
    assert not ada["recording"]["cloud_recording"]
    assert ada["recording"]["local_recording"]


async def test_an_admin_renames_a_user_and_makes_an_admin_of_them(connected: ZoomDriver) -> None:
    change = {"first_name": "Benedict", "role": "admin"}
    assert (await connected.control("PATCH", f"/users/{BEN}", change))["role"] == "admin"
    renamed = (await connected.call("GET", f"/users/{BEN}")).json()
    assert (renamed["display_name"], renamed["role_id"], renamed["status"]) == ("Benedict Okoye", "1", "active")


async def test_ids_are_the_same_in_every_simulator(connected: ZoomDriver) -> None:
    before = (await connected.call("GET", "/users/me")).json()
    await connected.control("POST", "/reset")
    await connected.connect()
    after = (await connected.call("GET", "/users/me")).json()
    assert (after["id"], after["account_id"], after["pmi"]) == (before["id"], before["account_id"], before["pmi"])


async def test_a_zak_opens_the_start_page_until_it_expires(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    zak = (await connected.call("GET", "/users/me/token", type="zak", ttl="60")).json()["token"]
    assert (await connected.http.get(f"/s/{meeting['id']}?zak={zak}")).status_code == 200
    await connected.control("PUT", "/clock", {"seconds": 61})
    assert (await connected.http.get(f"/s/{meeting['id']}?zak={zak}")).status_code == 403


async def test_unknown_paths_and_methods_are_not_recognized(connected: ZoomDriver) -> None:
    for method, path in (("GET", "/nothing"), ("DELETE", "/users/me"), ("GET", "/meetings/1/unheard-of")):
        answer = await connected.call(method, path)
        assert answer.json() == {"code": 2300, "message": "This API endpoint is not recognized."}
