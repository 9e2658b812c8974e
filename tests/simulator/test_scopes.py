import pytest

from app.simulator.scopes import granting_scope
from tests.simulator.driver import ADA, BEN, ZoomDriver

CREATE = ("meeting:write:meeting", ["meeting:write"])


@pytest.mark.parametrize(
    "granted", ["meeting:write:meeting", "meeting:write:meeting:admin", "meeting:write", "meeting:write:admin"]
)
def test_granular_admin_and_classic_scopes_all_permit(granted: str) -> None:
    assert granting_scope(*CREATE, ["user:read:user", granted]) == granted


@pytest.mark.parametrize("granted", ["meeting:read:meeting:admin", "meeting:update:meeting", "meeting:read:admin"])
def test_other_scopes_do_not(granted: str) -> None:
    assert granting_scope(*CREATE, [granted]) is None


def test_the_widest_scope_counts() -> None:
    assert granting_scope(*CREATE, ["meeting:write:meeting", "meeting:write:admin"]) == "meeting:write:admin"


def test_what_only_admins_may_do_needs_a_wide_scope() -> None:
    assert granting_scope("user:read:list_users:admin", ["user:read"], ["user:read", "user:read:list_users"]) is None
    assert granting_scope("user:read:list_users:admin", ["user:read"], ["user:read:admin"]) == "user:read:admin"


async def test_a_missing_scope_is_named(zoom: ZoomDriver) -> None:
    await zoom.control("PUT", "/app", {"scopes": ["user:read:user"]})
    await zoom.connect()
    answer = await zoom.call("POST", "/users/me/meetings", {})
    sentence = "Invalid access token, does not contain scopes:[meeting:write:meeting, meeting:write:meeting:admin]."
    assert (answer.status_code, answer.json()) == (400, {"code": 4711, "message": sentence})
    listing = await zoom.call("GET", "/users")
    assert "scopes:[user:read:list_users:admin]" in listing.json()["message"]


async def test_a_user_level_grant_reaches_only_its_own_user(zoom: ZoomDriver) -> None:
    await zoom.connect(ADA)
    of_ada = await zoom.meeting(ADA)
    await zoom.control("PUT", "/app", {"scopes": ["user:read:user", "meeting:write:meeting", "meeting:read:meeting"]})
    await zoom.connect(BEN)
    assert (await zoom.call("GET", "/users/me")).json()["email"] == BEN
    assert (await zoom.call("GET", f"/users/{BEN}")).status_code == 200
    for method, path, body in (
        ("GET", f"/users/{ADA}", None),
        ("POST", f"/users/{ADA}/meetings", {}),
        ("GET", f"/meetings/{of_ada['id']}", None),
    ):
        refused = await zoom.call(method, path, body)
        assert (refused.status_code, refused.json()["code"]) == (400, 4711)
        assert ":admin]" in refused.json()["message"]
    refused = await zoom.call("POST", "/users/me/meetings", {"schedule_for": ADA})
    assert (refused.status_code, refused.json()["code"]) == (400, 3000)


async def test_an_admin_grant_reaches_the_whole_account_and_no_other(connected: ZoomDriver) -> None:
    assert (await connected.call("GET", f"/users/{BEN}")).status_code == 200
    foreign = await connected.call("GET", "/users/wil@willow.example")
    assert (foreign.status_code, foreign.json()["code"]) == (404, 1001)


async def test_the_journal_tells_which_scope_was_used(connected: ZoomDriver) -> None:
    await connected.meeting()
    (entry,) = await connected.control("GET", "/journal?operation=meetingCreate")
    assert entry["scope"] == "meeting:write:meeting:admin"
    assert entry["required_scopes"] == ["meeting:write:meeting", "meeting:write:meeting:admin"]
