"""Section 17 of the contract: the behaviour with switches that are not the default.

All other tests assert the defaults.
"""

from app.simulator.switches import Switches
from tests.simulator.driver import CLEO, ZoomDriver


async def set_switches(zoom: ZoomDriver, **switches: object) -> None:
    """Set some switches."""
    await zoom.control("PUT", "/switches", switches)


def test_defaults_are_those_of_the_table() -> None:
    assert Switches().model_dump() == {
        "api_url": None,
        "link_base": None,
        "refused_fields": (),
        "field_refusal": "errors",
        "refresh_grace_seconds": 0,
        "missing_scope": "400/4711",
        "expired_token_status": 401,
        "registration_off": "404/404",
        "unknown_meeting_on_add": 3001,
        "per_second_code": 429,
        "rate_headers": "category",
        "retry_after": "none",
        "invalid_grant_status": 400,
        "timestamp_unit": "seconds",
        "participant_time": "join_time",
        "object_id": "documented",
        "same_email": "same",
        "cancelled_email": "new",
        "type_3_registration": "silent",
        "unlicensed_registration": "silent",
        "users_page_limit": 300,
        "deauthorized_event_ts": "number",
        "registrant_limit_key": "email-and-meeting",
        "reauthorization_revokes": False,
        "retries_signed_anew": True,
        "registrant_capacity": 4999,
        "report_after_seconds": 0,
        "enforce_limits": True,
    }


async def test_row_2_a_missing_scope(zoom: ZoomDriver) -> None:
    await set_switches(zoom, missing_scope="401/4700")
    await zoom.control("PUT", "/app", {"scopes": ["user:read:user"]})
    await zoom.connect()
    refused = await zoom.call("GET", "/users/me/settings")
    assert (refused.status_code, refused.json()["code"]) == (401, 4700)


async def test_row_3_an_expired_token(connected: ZoomDriver) -> None:
    await set_switches(connected, expired_token_status=400)
    await connected.control("PUT", "/clock", {"seconds": 3601})
    refused = await connected.call("GET", "/users/me")
    assert (refused.status_code, refused.json()["code"]) == (400, 124)


async def test_row_4_registration_off(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(approval_type=2)
    for shape, expected in (("400/404", (400, 404)), ("400/300", (400, 300))):
        await set_switches(connected, registration_off=shape)
        refused = await connected.add(meeting["id"])
        assert (refused.status_code, refused.json()["code"]) == expected


async def test_row_5_an_unknown_meeting(connected: ZoomDriver) -> None:
    await set_switches(connected, unknown_meeting_on_add=1001)
    refused = await connected.add(99999999999)
    assert refused.json() == {"code": 1001, "message": "Meeting does not exist: 99999999999."}


async def test_row_9_a_dead_refresh_token(zoom: ZoomDriver) -> None:
    await set_switches(zoom, invalid_grant_status=401)
    assert (await zoom.refresh("dead")).status_code == 401


async def test_row_14_registration_without_a_fixed_time(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(type=3)
    assert meeting["settings"]["approval_type"] == 2
    await set_switches(connected, type_3_registration="error")
    body = {"type": 3, "settings": {"approval_type": 1}}
    refused = await connected.call("POST", "/users/me/meetings", body)
    assert refused.json()["errors"][0]["field"] == "settings.approval_type"


async def test_row_15_registration_without_a_licence(connected: ZoomDriver) -> None:
    await set_switches(connected, unlicensed_registration="error")
    refused = await connected.call("POST", f"/users/{CLEO}/meetings", {"settings": {"approval_type": 1}})
    assert (refused.status_code, refused.json()["code"]) == (400, 200)
    assert (await connected.call("GET", f"/users/{CLEO}/meetings")).json()["meetings"] == []
