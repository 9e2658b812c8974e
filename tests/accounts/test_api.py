"""The Zoom integration over HTTP, as the SPA and a browser use it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from app.core.settings import ZOOM_APP_SETTINGS
from app.devstack.mailbox import Mailbox
from tests.accounts.harness import ADA, BEN, CLEO
from tests.support.service import RunningService, run_service

pytestmark = pytest.mark.no_snapshots

BASE = "/api/communities/zoom-reviewer/integrations/zoom"
CALLBACK = "/api/integrations/zoom/callback"
HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
async def service(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[RunningService]:
    """The whole service, without a worker unless a test starts one."""
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        yield service


async def begin_connect(service: RunningService, persona: str = "admin") -> str:
    answer = await service.post(persona, f"{BASE}/connect")
    assert answer.status_code == 200, answer.text
    url: str = answer.json()["authorize_url"]
    return url


async def consent(service: RunningService, url: str, email: str = ADA, decision: str = "approve") -> str:
    """Decide on the consent page; return the URL to which Zoom redirects the browser, our callback."""
    answer = await service.zoom.get(f"{url}&as={email}&decision={decision}")
    location: str = answer.headers["location"]
    return location


async def connect_account(service: RunningService, email: str = ADA) -> Any:
    back = await service.api.get(await consent(service, await begin_connect(service), email))
    handle = parse_qs(urlsplit(back.headers["location"]).query)["handle"][0]
    answer = await service.post("admin", f"{BASE}/connect/confirm", {"handle": handle})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_whole_connect_ends_with_the_account_on_the_card(service: RunningService) -> None:
    account = await connect_account(service)
    assert (account["email"], account["status"], len(account["hosts"])) == (ADA, "connected", 3)
    card = (await service.get("admin", BASE)).json()
    assert card == {"configured": True, "message": None, "accounts": [account]}
    assert account["connected_at"].endswith("Z")
    assert set(account) == {
        "id", "email", "status", "reason", "last_error", "connected_at", "hosts", "warnings", "missing_scopes",
        "upcoming_events", "webhook",
    }  # fmt: skip


async def test_the_way_back_leads_to_the_spa_and_is_kept_by_nobody(service: RunningService) -> None:
    back = await service.api.get(await consent(service, await begin_connect(service)))
    assert back.status_code == 303
    assert back.headers["location"].startswith(
        "https://spa.example/zoom-reviewer/admin/integrations?zoom=confirm&handle="
    )
    assert back.headers["cache-control"] == "no-store"
    assert back.headers["referrer-policy"] == "no-referrer"


async def test_a_denial_leads_back_with_that_word(service: RunningService) -> None:
    back = await service.api.get(await consent(service, await begin_connect(service), decision="deny"))
    assert back.headers["location"] == "https://spa.example/zoom-reviewer/admin/integrations?zoom=denied"


async def test_adding_the_app_from_the_marketplace_leads_to_the_install_page_and_its_code_is_discarded(
    service: RunningService,
) -> None:
    back = await service.api.get(CALLBACK, params={"code": "some-code"})
    assert (back.status_code, back.headers["location"]) == (303, "https://spa.example/install/zoom")
    assert await service.resources.db.pool.fetchval("SELECT count(*) FROM connects") == 0
    assert [entry for entry in await service.journal() if entry["operation"] == "oauthToken"] == []


async def test_a_forged_state_gets_a_problem_or_a_page_and_no_token_call(service: RunningService) -> None:
    forged = {"state": "forged", "code": "some-code"}
    problem = await service.api.get(CALLBACK, params=forged)
    assert (problem.status_code, problem.headers["content-type"]) == (400, "application/problem+json")
    assert problem.json()["type"].endswith("/problems/bad-request")
    page = await service.api.get(CALLBACK, params=forged, headers=HTML)
    assert page.status_code == 400
    assert page.headers["content-type"].startswith("text/html")
    assert "Connect Zoom" in page.text
    assert [entry for entry in await service.journal() if entry["operation"] == "oauthToken"] == []


async def test_a_handle_nobody_knows_names_the_field(service: RunningService) -> None:
    answer = await service.post("admin", f"{BASE}/connect/confirm", {"handle": "unknown"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "handle"


async def test_only_admins_of_the_community_reach_the_integration(service: RunningService) -> None:
    unknown = uuid4()
    routes: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("POST", "/connect", None),
        ("POST", "/connect/confirm", {"handle": "h"}),
        ("PUT", f"/hosts/{unknown}/member", {"member_id": None}),
        ("POST", f"/accounts/{unknown}/sync", None),
        ("PUT", f"/accounts/{unknown}/webhook-secret", {"secret": None}),
        ("GET", f"/accounts/{unknown}/preflight", None),
        ("DELETE", f"/accounts/{unknown}", None),
    ]
    refused = {None: 401, "stranger": 404, "neighbour": 404, "member": 403, "coach": 403}
    for method, path, body in routes:
        statuses = {
            persona: (await service.call(persona, method, BASE + path, json=body)).status_code for persona in refused
        }
        assert statuses == refused, path


async def test_a_coach_picks_a_host_without_seeing_e_mails(service: RunningService) -> None:
    await connect_account(service)
    answer = await service.get("coach", f"{BASE}/hosts")
    assert answer.status_code == 200
    assert {host["email"] for host in answer.json()["items"]} == {None}
    for_admin = (await service.get("admin", f"{BASE}/hosts")).json()
    assert [host["email"] for host in for_admin["items"]] == [ADA, BEN, CLEO]
    assert for_admin["next_cursor"] is None
    assert (await service.get("member", f"{BASE}/hosts")).status_code == 403


@pytest.mark.parametrize(
    ("times", "field"),
    [
        ({"starts_at": "2027-01-13T11:00:00Z"}, "ends_at"),
        ({"ends_at": "2027-01-13T11:00:00Z"}, "starts_at"),
        ({"starts_at": "2027-01-13T11:00:00Z", "ends_at": "2027-01-13T11:00:00Z"}, "ends_at"),
        ({"starts_at": "2027-01-13T11:00:00", "ends_at": "2027-01-13T12:00:00Z"}, "starts_at"),
    ],
)
async def test_times_that_make_no_sense_are_named(service: RunningService, times: dict[str, str], field: str) -> None:
    answer = await service.get("admin", f"{BASE}/hosts", params=times)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


async def test_an_admin_says_whose_host_it_is(service: RunningService) -> None:
    account = await connect_account(service)
    ben = next(host for host in account["hosts"] if host["email"] == BEN)
    answer = await service.call("admin", "PUT", f"{BASE}/hosts/{ben['id']}/member", json={"member_id": "m-coach"})
    assert (answer.status_code, answer.json()["member_id"]) == (200, "m-coach")
    unknown = await service.call("admin", "PUT", f"{BASE}/hosts/{uuid4()}/member", json={"member_id": "m-coach"})
    assert unknown.status_code == 404


async def test_an_account_is_read_again_on_demand(service: RunningService) -> None:
    account = await connect_account(service)
    answer = await service.post("admin", f"{BASE}/accounts/{account['id']}/sync")
    assert answer.status_code == 202
    rows = await service.due_jobs()
    assert ("accounts.read", account["id"]) in {(row["job"], row["key"]) for row in rows}
    await service.resources.db.pool.execute("UPDATE accounts SET status = 'needs_reauth'")
    refused = await service.post("admin", f"{BASE}/accounts/{account['id']}/sync")
    assert (refused.status_code, refused.json()["type"].rsplit("/", 1)[1]) == (409, "needs-reauth")


async def test_an_own_webhook_secret_is_kept_sealed_never_shown_and_taken_away_again(service: RunningService) -> None:
    account = await connect_account(service)
    path = f"{BASE}/accounts/{account['id']}/webhook-secret"
    answer = await service.call("admin", "PUT", path, json={"secret": "an-own-secret"})
    expected = {"last_received_at": None, "own_secret": True, "former_secret_until": None}
    assert (answer.status_code, answer.json()) == (200, expected)
    encrypted = await service.resources.db.pool.fetchval("SELECT webhook_secret FROM accounts")
    assert (
        service.resources.encryption.decrypt(encrypted, f"accounts.webhook_secret:{account['id']}") == "an-own-secret"
    )
    removed = await service.call("admin", "PUT", path, json={"secret": None})
    assert removed.json()["own_secret"] is False
    short = await service.call("admin", "PUT", path, json={"secret": "short"})
    assert (short.status_code, short.json()["errors"][0]["field"]) == (422, "secret")


async def test_a_replaced_webhook_secret_lies_sealed_for_a_day_and_leaves_with_the_account(
    service: RunningService,
) -> None:
    account = await connect_account(service)
    path = f"{BASE}/accounts/{account['id']}"
    for secret in ("the-first-secret", "the-second-secret", "the-second-secret"):
        answer = await service.call("admin", "PUT", f"{path}/webhook-secret", json={"secret": secret})
    assert answer.json()["former_secret_until"] is not None
    columns = "SELECT webhook_secret, former_webhook_secret, webhook_secret_changed_at FROM accounts"
    row = await service.resources.db.pool.fetchrow(columns)
    associated_data = f"accounts.former_webhook_secret:{account['id']}"
    assert service.resources.encryption.decrypt(row["former_webhook_secret"], associated_data) == "the-first-secret"
    await service.call("admin", "DELETE", path)
    assert tuple(await service.resources.db.pool.fetchrow(columns)) == (None, None, None)


async def test_the_picker_comes_in_pages_that_put_together_are_the_picker(service: RunningService) -> None:
    await connect_account(service)
    whole = (await service.get("admin", f"{BASE}/hosts")).json()
    assert (len(whole["items"]), whole["next_cursor"]) == (3, None)
    found, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await service.get("admin", f"{BASE}/hosts", params=params)).json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == whole["items"]
    wrong = await service.get("admin", f"{BASE}/hosts", params={"cursor": "nowhere"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "cursor")


async def test_the_picker_warns_of_what_an_event_would_not_get(service: RunningService) -> None:
    await connect_account(service)
    await service.resources.db.pool.execute("UPDATE hosts SET capacity = 100")
    when = {"starts_at": "2027-03-01T19:00:00Z", "ends_at": "2027-03-01T19:41:00Z"}
    items = (await service.get("coach", f"{BASE}/hosts", params=when | {"capacity": 101})).json()["items"]
    warned = {host["name"]: [warning["type"] for warning in host["warnings"]] for host in items}
    assert warned == {
        "Ada Marsh": ["capacity"],
        "Ben Okoye": ["capacity"],
        "Cleo Lindqvist": ["not-personal", "time-limit", "capacity"],
    }
    assert all(host["available"] for host in items), "a warning refuses nothing"
    cleo = next(host for host in items if host["name"] == "Cleo Lindqvist")
    assert cleo["reason"] == "This host has no Zoom licence, so members' links are not personal."
    assert cleo["warnings"][1]["detail"].endswith("ends the meeting after 40 minutes; 41 are planned.")
    assert cleo["warnings"][2]["detail"].endswith("take 100 people, and there is to be room for 101.")
    fits = {"starts_at": "2027-03-01T19:00:00Z", "ends_at": "2027-03-01T19:40:00Z", "capacity": "100"}
    items = (await service.get("coach", f"{BASE}/hosts", params=fits)).json()["items"]
    assert [[warning["type"] for warning in host["warnings"]] for host in items] == [[], [], ["not-personal"]]
    none = await service.get("coach", f"{BASE}/hosts", params={"capacity": 0})
    assert (none.status_code, none.json()["errors"][0]["field"]) == (422, "capacity")


async def test_the_card_shows_what_is_left_of_each_hosts_day(service: RunningService) -> None:
    account = await connect_account(service)
    assert [host["quota_left"] for host in account["hosts"]] == [100, 100, 100]
    await service.resources.db.pool.execute(
        "INSERT INTO quota_usage (key, day, used) SELECT 'host:' || zoom_user_id, $1, 97 FROM hosts WHERE email = $2",
        service.clock.now().date().isoformat(),
        BEN,
    )
    (account,) = (await service.get("admin", BASE)).json()["accounts"]
    assert {host["email"]: host["quota_left"] for host in account["hosts"]} == {ADA: 100, BEN: 3, CLEO: 100}
    picker = (await service.get("admin", f"{BASE}/hosts")).json()["items"]
    assert {host["email"]: host["quota_left"] for host in picker} == {ADA: 100, BEN: 3, CLEO: 100}


async def test_the_preflight_says_what_would_go_wrong(service: RunningService) -> None:
    account = await connect_account(service)
    answer = (await service.get("admin", f"{BASE}/accounts/{account['id']}/preflight")).json()
    assert answer["ok"] is False
    assert next(check["name"] for check in answer["checks"] if not check["ok"]) == "Notifications"
    assert all(set(check) == {"name", "ok", "finding", "remedy"} for check in answer["checks"])


async def test_a_disconnected_account_leaves_the_card_and_unknown_accounts_are_not_found(
    service: RunningService,
) -> None:
    account = await connect_account(service)
    path = f"{BASE}/accounts/{account['id']}"
    deleted = await service.call("admin", "DELETE", path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await service.get("admin", BASE)).json()["accounts"] == []
    assert (await service.call("admin", "DELETE", path)).status_code == 404
    assert (await service.get("admin", f"{path}/preflight")).status_code == 404


async def test_an_account_of_another_community_is_not_found_here(service: RunningService) -> None:
    account = await connect_account(service)
    elsewhere = f"/api/communities/elsewhere/integrations/zoom/accounts/{account['id']}"
    for method, path in (("DELETE", ""), ("GET", "/preflight"), ("POST", "/sync")):
        assert (await service.call("neighbour", method, elsewhere + path)).status_code == 404


async def test_an_expired_state_is_told_on_the_admins_own_page(service: RunningService) -> None:
    url = await consent(service, await begin_connect(service))
    service.clock.ahead = timedelta(minutes=11)
    back = await service.api.get(url)
    assert back.headers["location"].endswith("/zoom-reviewer/admin/integrations?zoom=failed&reason=state-expired")


async def test_without_the_operators_settings_the_card_and_connect_say_what_to_do(
    database_url: str, redis_url: str, mailbox: Mailbox
) -> None:
    unset: dict[str, Any] = dict.fromkeys(ZOOM_APP_SETTINGS, "")
    async with run_service(database_url, redis_url, mailbox, worker=False, **unset) as service:
        card = (await service.get("admin", BASE)).json()
        assert (card["configured"], card["accounts"]) == (False, [])
        assert card["message"].startswith("Zoom integration is not configured on this Kindryn instance. The instance")
        refused = await service.post("admin", f"{BASE}/connect")
        assert refused.status_code == 409
        problem = refused.json()
        assert problem["type"].endswith("/problems/zoom-not-configured")
        assert problem["title"] == "Zoom integration is not configured on this Kindryn instance"
        assert problem["detail"].endswith(
            "ask them to configure ZOOM_CLIENT_ID, ZOOM_CLIENT_SECRET, and ZOOM_REDIRECT_URI."
        )
