"""Errors of the token endpoint other than `invalid_grant` are on the card until a token arrives."""

from datetime import timedelta
from typing import Any

import pytest

from app.accounts import grants, preflight, token_errors, token_store
from app.accounts.integration_view import AccountCard, account_cards
from app.accounts.token_errors import TokenUnavailable
from app.core.outbox import RetryLater
from tests.accounts.harness import AccountsHarness, admin

REFRESH = "oauthRefresh"
# HTTP status, body (None is a gateway's HTML page), `retry`, slug, and a part of the text on the card.
ANSWERS: list[tuple[int, dict[str, Any] | None, str, str, str]] = [
    (400, {"reason": "User is locked", "error": "unknown_error"}, "backoff", "token-refused", "User is locked"),
    (401, {"reason": "User is locked", "error": "unknown_error"}, "backoff", "token-refused", "User is locked"),
    (400, {"code": 4700, "message": "Exception message"}, "backoff", "token-refused", "Exception message"),
    (401, {"code": 4700, "message": "Exception message"}, "backoff", "token-refused", "Exception message"),
    (
        400,
        {"code": 4735, "message": "Owner gone"},
        "backoff",
        "token-refused",
        "the user who connected the account is gone",
    ),
    (400, {"code": 4738, "message": "Disabled"}, "backoff", "token-refused", "an admin of the Zoom account disabled"),
    (400, {"code": 4741, "message": "Revoked"}, "backoff", "token-refused", "the token was revoked"),
    (400, {"code": 4717, "message": "Disabled"}, "when_reconnected", "app-disabled", "App Marketplace"),
    (400, {"reason": "Bad", "error": "invalid_client"}, "when_reconnected", "app-misconfigured", "ZOOM_CLIENT_SECRET"),
    (400, {"code": 4704, "message": "Bad secret"}, "when_reconnected", "app-misconfigured", "ZOOM_CLIENT_SECRET"),
    (400, None, "backoff", "bad-answer", "the refusal is not JSON"),
    (500, {"error": "invalid_grant"}, "backoff", "outcome-unknown", "HTTP 500"),
    (503, None, "backoff", "outcome-unknown", "HTTP 503"),
]


async def card_of(harness: AccountsHarness) -> AccountCard:
    async with harness.resources.db.transaction() as tx:
        (row,) = await harness.query("SELECT id FROM accounts")
        account = await harness.account(row.id)
        return (await account_cards(tx, [account]))[0]


@pytest.mark.parametrize(("status", "body", "retry", "kind", "detail"), ANSWERS)
async def test_a_refusal_of_the_token_is_shown_on_the_card_and_passes(
    harness: AccountsHarness, status: int, body: dict[str, Any] | None, retry: str, kind: str, detail: str
) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    await harness.inject_fault("status", REFRESH, status=status, body=body)
    client = await grants.client_for(harness.resources, account_id)
    with pytest.raises(TokenUnavailable) as refused:
        await client.get_me()
    assert (refused.value.retry, refused.value.kind) == (retry, kind)
    card = await card_of(harness)
    assert (card.status, card.last_error and card.last_error.type) == ("connected", kind)
    assert card.reason is not None
    assert detail in card.reason
    assert card.last_error is not None
    assert card.last_error.detail == card.reason
    assert abs(card.last_error.at - harness.clock.now()) < timedelta(minutes=1)
    assert (await client.get_me()).email == "ada@riverside.example"
    card = await card_of(harness)
    assert (card.status, card.reason, card.last_error) == ("connected", None, None)


@pytest.mark.parametrize("again", [False, True], ids=["connected once", "connected again"])
async def test_a_token_that_comes_as_usual_has_nothing_done_twice(again: bool, harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    if again:
        await harness.disconnect(account_id)
        assert await harness.connect(admin()) == account_id
    await harness.expire_access_token(account_id)
    # The row of a running job that needs a token. If it counted as waiting for the token, it would be requested again.
    await harness.execute("UPDATE outbox SET lease = gen_random_uuid() WHERE queue = :queue", queue=str(account_id))
    rows_before = await harness.query("SELECT job, key, generation FROM outbox ORDER BY id")
    assert "accounts.read" in {row.job for row in rows_before}
    await grants.AccountTokens(harness.resources, account_id).access_token()
    assert len(await harness.zoom_calls(REFRESH)) == 1
    assert await harness.query("SELECT job, key, generation FROM outbox ORDER BY id") == rows_before


async def test_the_card_says_since_when_no_token_has_come(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    await harness.inject_fault("status", REFRESH, status=503, times=2)
    for ahead in (timedelta(), timedelta(minutes=20)):
        harness.clock.ahead = ahead
        with pytest.raises(TokenUnavailable):
            await grants.AccountTokens(harness.resources, account_id).access_token()
    found = (await card_of(harness)).last_error
    assert found is not None
    assert timedelta(minutes=19) < found.at - found.since < timedelta(minutes=21)


async def test_a_token_endpoint_that_hangs_is_shown_too(
    harness: AccountsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    monkeypatch.setattr(grants, "REFRESH_TIMEOUT", 0.5)
    await harness.inject_fault("latency", REFRESH, seconds=3)
    with pytest.raises(RetryLater) as caught:
        await grants.AccountTokens(harness.resources, account_id).access_token()
    assert caught.value.retry == "backoff"
    found = (await card_of(harness)).last_error
    assert found is not None
    assert found.type == "no-answer"


async def test_a_rate_limit_of_the_token_endpoint_ends_when_it_says(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    await harness.inject_fault("rate_per_second", REFRESH, retry_after="seconds")
    with pytest.raises(TokenUnavailable) as refused:
        await grants.AccountTokens(harness.resources, account_id).access_token()
    assert (refused.value.retry, refused.value.whole_queue) == ("at", True)
    assert refused.value.retry_at is not None


async def test_who_was_frozen_while_zoom_was_asked_leaves_no_trouble_behind_once_another_has_renewed(
    harness: AccountsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frozen process has timed out by the time it wakes."""
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    frozen = grants.AccountTokens(harness.resources, account_id)

    async def renewed_elsewhere(_generation: int, _rejected: str | None) -> None:
        frozen._refreshing = await token_store.read_grant(harness.resources, account_id)
        await grants.AccountTokens(harness.resources, account_id)._refresh_locked(frozen._refreshing.generation, None)
        raise TimeoutError

    monkeypatch.setattr(frozen, "_refresh_locked", renewed_elsewhere)
    with pytest.raises(RetryLater):
        await frozen.access_token()
    assert (await card_of(harness)).last_error is None


async def test_only_invalid_grant_ends_a_connection_and_its_trouble(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    await harness.inject_fault("status", REFRESH, status=503)
    with pytest.raises(TokenUnavailable):
        await grants.AccountTokens(harness.resources, account_id).access_token()
    await harness.inject_fault("invalid_grant", REFRESH)
    with pytest.raises(RetryLater):
        await grants.AccountTokens(harness.resources, account_id).access_token()
    card = await card_of(harness)
    assert (card.status, card.reason, card.last_error) == ("needs_reauth", token_errors.NEEDS_REAUTH, None)


async def test_preflight_does_not_say_that_zoom_accepts_a_connection_in_trouble(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    await harness.inject_fault("status", REFRESH, status=400, body={"code": 4717, "message": "Disabled"})
    with pytest.raises(TokenUnavailable):
        await grants.AccountTokens(harness.resources, account_id).access_token()
    found = preflight.preflight(await harness.account(account_id), [], can_record=None)
    connection = next(check for check in found.checks if check.name == "Connection")
    assert not connection.ok
    assert "App Marketplace" in connection.finding


@pytest.mark.parametrize(
    "body", [{"reason": "User is locked", "error": "unknown_error"}, {"code": 4700, "message": "Exception message"}]
)
async def test_a_revocation_that_was_refused_is_tried_again(harness: AccountsHarness, body: dict[str, Any]) -> None:
    account_id = await harness.connect(admin())
    await harness.inject_fault("status", "oauthRevoke", status=400, body=body)
    await harness.disconnect(account_id)
    await harness.run_due_jobs()
    assert await harness.query("SELECT 1 FROM revocations")
    assert await harness.count_live_grants() == 1
    await harness.execute("UPDATE outbox SET due_at = now(), not_before = NULL")
    await harness.run_due_jobs()
    assert await harness.query("SELECT 1 FROM revocations") == []
    assert await harness.count_live_grants() == 0


async def test_what_was_given_up_meanwhile_goes_on_once_a_token_comes(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.run_due_jobs()
    await harness.expire_access_token(account_id)
    await harness.inject_fault("status", REFRESH, status=503)
    with pytest.raises(TokenUnavailable):
        await grants.AccountTokens(harness.resources, account_id).access_token()
    await harness.execute(
        "INSERT INTO outbox (job, key, due_at, priority, queue, recorded_at, dead_at, reason)"
        " VALUES ('accounts.read', :key, now(), 20, :key, now(), now(), 'TokenUnavailable: ...')",
        key=str(account_id),
    )
    await grants.AccountTokens(harness.resources, account_id).access_token()
    assert await harness.query("SELECT 1 FROM outbox WHERE dead_at IS NOT NULL") == []
