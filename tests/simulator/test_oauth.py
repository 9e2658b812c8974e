import hashlib
from base64 import b64encode, urlsafe_b64encode

import pytest

from tests.simulator.driver import ADA, BEN, CALLBACK, CREDENTIALS, ZoomDriver


async def test_the_consent_page_can_be_read_and_clicked(zoom: ZoomDriver) -> None:
    page = await zoom.http.get(
        "/oauth/authorize",
        params={"response_type": "code", "client_id": CREDENTIALS[0], "redirect_uri": CALLBACK, "state": "a&b"},
    )
    assert page.status_code == 200
    assert "Ada Marsh" in page.text
    assert "meeting:write:meeting:admin" in page.text
    assert 'name="state" value="a&amp;b"' in page.text
    assert 'value="approve"' in page.text
    assert 'value="deny"' in page.text


async def test_approval_brings_back_a_code_and_the_state(zoom: ZoomDriver) -> None:
    answer = await zoom.consent(state="s?&=")
    assert answer.status_code == 302
    back = answer.headers["location"]
    assert back.startswith(f"{CALLBACK}?code=")
    assert back.endswith("&state=s%3F%26%3D")


async def test_denial_brings_back_no_code(zoom: ZoomDriver) -> None:
    answer = await zoom.consent(decision="deny")
    assert answer.headers["location"] == f"{CALLBACK}?error=access_denied&state=the+state"


async def test_a_redirect_uri_off_the_list_is_not_followed(zoom: ZoomDriver) -> None:
    answer = await zoom.consent(redirect_uri=f"{CALLBACK}/")
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "4,700" in answer.text


async def test_an_unknown_client_sees_an_error_page(zoom: ZoomDriver) -> None:
    assert (await zoom.consent(client_id="somebody")).status_code == 400


async def test_a_member_cannot_add_an_admin_managed_app(zoom: ZoomDriver) -> None:
    assert (await zoom.consent(BEN)).status_code == 403
    await zoom.control("PUT", "/app", {"scopes": ["user:read:user"]})
    assert (await zoom.consent(BEN)).status_code == 302


async def test_tokens_come_as_the_contract_says(zoom: ZoomDriver) -> None:
    answer = await zoom.exchange(await zoom.code())
    tokens = answer.json()
    assert answer.status_code == 200
    assert set(tokens) == {"access_token", "token_type", "refresh_token", "expires_in", "scope", "api_url"}
    assert (tokens["token_type"], tokens["expires_in"], tokens["api_url"]) == ("bearer", 3600, "http://zoom.test")
    assert "user:read:list_users:admin" in tokens["scope"].split()
    assert len(tokens["access_token"]) > 600


async def test_a_token_can_name_another_address_of_the_api(zoom: ZoomDriver) -> None:
    await zoom.control("PUT", "/switches", {"api_url": "https://api-eu.zoom.us"})
    assert (await zoom.exchange(await zoom.code())).json()["api_url"] == "https://api-eu.zoom.us"


async def test_a_code_works_once(zoom: ZoomDriver) -> None:
    code = await zoom.code()
    assert (await zoom.exchange(code)).status_code == 200
    again = await zoom.exchange(code)
    assert (again.status_code, again.json()) == (
        400,
        {"reason": "Invalid authorization code", "error": "invalid_grant"},
    )


async def test_a_code_dies_after_five_minutes(zoom: ZoomDriver) -> None:
    code = await zoom.code()
    await zoom.control("PUT", "/clock", {"seconds": 301})
    assert (await zoom.exchange(code)).json()["error"] == "invalid_grant"


async def test_an_exchange_must_name_the_same_redirect_uri(zoom: ZoomDriver) -> None:
    assert (await zoom.exchange(await zoom.code(), redirect_uri="https://app.example/other")).status_code == 400


@pytest.mark.parametrize("method", ["S256", "plain", None])
async def test_a_challenge_is_answered_by_its_verifier_only(zoom: ZoomDriver, method: str | None) -> None:
    verifier = "v" * 43
    hashed = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    query = {"code_challenge": hashed if method == "S256" else verifier}
    query |= {"code_challenge_method": method} if method else {}
    for wrong in ({}, {"code_verifier": "w" * 43}):
        refused = await zoom.exchange(await zoom.code(**query), **wrong)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await zoom.exchange(await zoom.code(**query), code_verifier=verifier)).status_code == 200


async def test_wrong_credentials_are_refused(zoom: ZoomDriver) -> None:
    code = await zoom.code()
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    for pair in ("client-id:wrong", "wrong:client-secret", ""):
        headers = {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        answer = await zoom.http.post("/oauth/token", data=form, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert (await zoom.exchange(code)).status_code == 200


async def test_an_unknown_grant_type_is_named(zoom: ZoomDriver) -> None:
    answer = await zoom.http.post("/oauth/token", data={"grant_type": "password"}, auth=CREDENTIALS)
    assert (answer.status_code, answer.json()) == (
        400,
        {"reason": "unsupported grant type", "error": "unsupported_grant_type"},
    )


async def test_credentials_and_codes_in_the_query_string_are_not_read(zoom: ZoomDriver) -> None:
    query = {"grant_type": "authorization_code", "code": await zoom.code(), "redirect_uri": CALLBACK}
    assert (await zoom.http.post("/oauth/token", params=query, auth=CREDENTIALS)).status_code == 400


async def test_a_refresh_rotates_and_the_old_token_is_dead_at_once(zoom: ZoomDriver) -> None:
    first = await zoom.connect()
    second = (await zoom.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    dead = await zoom.refresh(first["refresh_token"])
    assert (dead.status_code, dead.json()) == (400, {"reason": "Invalid Token!", "error": "invalid_grant"})
    assert (await zoom.refresh(second["refresh_token"])).status_code == 200


async def test_a_grace_time_lets_the_old_refresh_token_live_on(zoom: ZoomDriver) -> None:
    await zoom.control("PUT", "/switches", {"refresh_grace_seconds": 60})
    first = await zoom.connect()
    await zoom.refresh(first["refresh_token"])
    assert (await zoom.refresh(first["refresh_token"])).status_code == 200
    await zoom.control("PUT", "/clock", {"seconds": 61})
    assert (await zoom.refresh(first["refresh_token"])).status_code == 400


async def test_a_refresh_token_lives_ninety_days(zoom: ZoomDriver) -> None:
    tokens = await zoom.connect()
    await zoom.control("PUT", "/clock", {"seconds": 90 * 86400 + 1})
    assert (await zoom.refresh(tokens["refresh_token"])).status_code == 400


async def test_an_access_token_lives_an_hour(zoom: ZoomDriver) -> None:
    await zoom.connect()
    assert (await zoom.call("GET", "/users/me")).status_code == 200
    await zoom.control("PUT", "/clock", {"seconds": 3601})
    answer = await zoom.call("GET", "/users/me")
    assert (answer.status_code, answer.json()) == (401, {"code": 124, "message": "Access token is expired."})


async def test_calls_without_a_known_token_are_refused(zoom: ZoomDriver) -> None:
    zoom.token = "made up"
    answer = await zoom.call("GET", "/users/me")
    assert (answer.status_code, answer.json()) == (401, {"code": 124, "message": "Invalid access token."})
    bare = await zoom.http.get("/v2/users/me")
    assert (bare.status_code, bare.json()["code"]) == (401, 124)


async def test_a_revoked_token_is_dead_and_so_is_its_refresh_token(zoom: ZoomDriver) -> None:
    tokens = await zoom.connect()
    answer = await zoom.http.post("/oauth/revoke", data={"token": tokens["access_token"]}, auth=CREDENTIALS)
    assert (answer.status_code, answer.json()) == (200, {"status": "success"})
    assert (await zoom.call("GET", "/users/me")).json()["code"] == 124
    assert (await zoom.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_revoking_one_grant_leaves_the_others(zoom: ZoomDriver) -> None:
    first, _ = await zoom.connect(), await zoom.connect()
    await zoom.http.post("/oauth/revoke", data={"token": first["access_token"]}, auth=CREDENTIALS)
    assert (await zoom.call("GET", "/users/me")).status_code == 200


async def test_a_new_authorization_can_be_made_to_end_the_earlier_ones(zoom: ZoomDriver) -> None:
    first = await zoom.connect()
    await zoom.connect()
    assert (await zoom.refresh(first["refresh_token"])).status_code == 200
    await zoom.control("PUT", "/switches", {"reauthorization_revokes": True})
    second = await zoom.connect()
    await zoom.connect(ADA)
    assert (await zoom.refresh(second["refresh_token"])).status_code == 400


async def test_tokens_keep_the_scopes_they_were_granted(zoom: ZoomDriver) -> None:
    await zoom.control("PUT", "/app", {"scopes": ["user:read:user"]})
    tokens = await zoom.connect()
    await zoom.control("PUT", "/app", {"scopes": ["user:read:user", "user:read:settings"]})
    assert (await zoom.refresh(tokens["refresh_token"])).json()["scope"] == "user:read:user"
    assert (await zoom.connect())["scope"] == "user:read:user user:read:settings"
