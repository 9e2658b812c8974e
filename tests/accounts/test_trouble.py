"""What the token endpoint says beside `invalid_grant`: shown on the card with its time, and forgotten afterwards."""

from datetime import timedelta
from typing import Any

import pytest

from app.accounts import grants, preflight, token_store, trouble
from app.accounts.cards import AccountCard, account_cards
from app.accounts.trouble import NoToken
from app.core.outbox import NotNow

from .house import House, admin

REFRESH = "oauthRefresh"
# (HTTP status, body; None is a gateway's HTML page), how it waits, its slug, and what the card says of it.
ANSWERS: list[tuple[int, dict[str, Any] | None, str, str, str]] = [
    (400, {"reason": "User is locked", "error": "unknown_error"}, "later", "token-refused", "User is locked"),
    (401, {"reason": "User is locked", "error": "unknown_error"}, "later", "token-refused", "User is locked"),
    (400, {"code": 4700, "message": "Exception message"}, "later", "token-refused", "Exception message"),
    (401, {"code": 4700, "message": "Exception message"}, "later", "token-refused", "Exception message"),
    (
        400,
        {"code": 4735, "message": "Owner gone"},
        "later",
        "token-refused",
        "the user who connected the account is gone",
    ),
    (400, {"code": 4738, "message": "Disabled"}, "later", "token-refused", "an admin of the Zoom account disabled"),
    (400, {"code": 4741, "message": "Revoked"}, "later", "token-refused", "the token was revoked"),
    (400, {"code": 4717, "message": "Disabled"}, "parked", "app-disabled", "App Marketplace"),
    (400, {"reason": "Bad", "error": "invalid_client"}, "parked", "app-misconfigured", "ZOOM_CLIENT_SECRET"),
    (400, {"code": 4704, "message": "Bad secret"}, "parked", "app-misconfigured", "ZOOM_CLIENT_SECRET"),
    (400, None, "later", "bad-answer", "the refusal is not JSON"),
    (500, {"error": "invalid_grant"}, "later", "outcome-unknown", "HTTP 500"),
    (503, None, "later", "outcome-unknown", "HTTP 503"),
]


async def card_of(house: House) -> AccountCard:
    async with house.resources.db.transaction() as tx:
        (row,) = await house.rows("SELECT id FROM accounts")
        account = await house.account(row.id)
        return (await account_cards(tx, [account]))[0]


@pytest.mark.parametrize(("status", "body", "again", "kind", "says"), ANSWERS)
async def test_a_refusal_of_the_token_is_shown_on_the_card_and_passes(
    house: House, status: int, body: dict[str, Any] | None, again: str, kind: str, says: str
) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    await house.fault("status", REFRESH, status=status, body=body)
    client = await grants.zoom(house.resources, account_id)
    with pytest.raises(NoToken) as refused:
        await client.get_me()
    assert (refused.value.again, refused.value.kind) == (again, kind)
    card = await card_of(house)
    assert (card.status, card.last_error and card.last_error.type) == ("connected", kind)
    assert card.reason is not None
    assert says in card.reason
    assert card.last_error is not None
    assert card.last_error.detail == card.reason
    assert abs(card.last_error.at - house.clock.now()) < timedelta(minutes=1)
    assert (await client.get_me()).email == "ada@riverside.example"
    card = await card_of(house)
    assert (card.status, card.reason, card.last_error) == ("connected", None, None)


@pytest.mark.parametrize("again", [False, True], ids=["connected once", "connected again"])
async def test_a_token_that_comes_as_usual_has_nothing_done_twice(again: bool, house: House) -> None:
    account_id = await house.connect(admin())
    if again:
        await house.disconnect(account_id)
        assert await house.connect(admin()) == account_id
    await house.expire(account_id)
    # A row that runs, needs a token, and would be asked for again if it were taken for one that waited for the token.
    await house.change("UPDATE outbox SET lease = gen_random_uuid() WHERE lane = :lane", lane=str(account_id))
    asked = await house.rows("SELECT reaction, key, generation FROM outbox ORDER BY id")
    assert "accounts.read" in {row.reaction for row in asked}
    await grants.AccountTokens(house.resources, account_id).access_token()
    assert len(await house.calls(REFRESH)) == 1
    assert await house.rows("SELECT reaction, key, generation FROM outbox ORDER BY id") == asked


async def test_the_card_says_since_when_no_token_has_come(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    await house.fault("status", REFRESH, status=503, times=2)
    for ahead in (timedelta(), timedelta(minutes=20)):
        house.clock.ahead = ahead
        with pytest.raises(NoToken):
            await grants.AccountTokens(house.resources, account_id).access_token()
    found = (await card_of(house)).last_error
    assert found is not None
    assert timedelta(minutes=19) < found.at - found.since < timedelta(minutes=21)


async def test_a_token_endpoint_that_hangs_is_shown_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    monkeypatch.setattr(grants, "PATIENCE", 0.5)
    await house.fault("latency", REFRESH, seconds=3)
    with pytest.raises(NotNow) as later:
        await grants.AccountTokens(house.resources, account_id).access_token()
    assert later.value.again == "later"
    found = (await card_of(house)).last_error
    assert found is not None
    assert found.type == "no-answer"


async def test_a_rate_limit_of_the_token_endpoint_ends_when_it_says(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    await house.fault("rate_per_second", REFRESH, retry_after="seconds")
    with pytest.raises(NoToken) as refused:
        await grants.AccountTokens(house.resources, account_id).access_token()
    assert (refused.value.again, refused.value.whole_lane) == ("at", True)
    assert refused.value.retry_at is not None


async def test_who_was_frozen_while_zoom_was_asked_leaves_no_trouble_behind_once_another_has_renewed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its patience was over when it woke."""
    account_id = await house.connect(admin())
    await house.expire(account_id)
    frozen = grants.AccountTokens(house.resources, account_id)

    async def renewed_elsewhere(_seen: int, _rejected: str | None) -> None:
        frozen._asking = await token_store.read(house.resources, account_id)
        await grants.AccountTokens(house.resources, account_id)._renew(frozen._asking.generation, None)
        raise TimeoutError

    monkeypatch.setattr(frozen, "_renew", renewed_elsewhere)
    with pytest.raises(NotNow):
        await frozen.access_token()
    assert (await card_of(house)).last_error is None


async def test_only_invalid_grant_ends_a_connection_and_its_trouble(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    await house.fault("status", REFRESH, status=503)
    with pytest.raises(NoToken):
        await grants.AccountTokens(house.resources, account_id).access_token()
    await house.fault("invalid_grant", REFRESH)
    with pytest.raises(NotNow):
        await grants.AccountTokens(house.resources, account_id).access_token()
    card = await card_of(house)
    assert (card.status, card.reason, card.last_error) == ("needs_reauth", trouble.NEEDS_REAUTH, None)


async def test_preflight_does_not_say_that_zoom_accepts_a_connection_in_trouble(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    await house.fault("status", REFRESH, status=400, body={"code": 4717, "message": "Disabled"})
    with pytest.raises(NoToken):
        await grants.AccountTokens(house.resources, account_id).access_token()
    found = preflight.preflight(await house.account(account_id), [], records=None)
    connection = next(line for line in found.lines if line.what == "Connection")
    assert not connection.ok
    assert "App Marketplace" in connection.why


@pytest.mark.parametrize(
    "body", [{"reason": "User is locked", "error": "unknown_error"}, {"code": 4700, "message": "Exception message"}]
)
async def test_a_revocation_that_was_refused_is_tried_again(house: House, body: dict[str, Any]) -> None:
    account_id = await house.connect(admin())
    await house.fault("status", "oauthRevoke", status=400, body=body)
    await house.disconnect(account_id)
    await house.work()
    assert await house.rows("SELECT 1 FROM revocations")
    assert await house.grants_alive() == 1
    await house.change("UPDATE outbox SET due_at = now(), not_before = NULL")
    await house.work()
    assert await house.rows("SELECT 1 FROM revocations") == []
    assert await house.grants_alive() == 0


async def test_what_was_given_up_meanwhile_goes_on_once_a_token_comes(house: House) -> None:
    account_id = await house.connect(admin())
    await house.work()
    await house.expire(account_id)
    await house.fault("status", REFRESH, status=503)
    with pytest.raises(NoToken):
        await grants.AccountTokens(house.resources, account_id).access_token()
    await house.change(
        "INSERT INTO outbox (reaction, key, due_at, priority, lane, recorded_at, dead_at, reason)"
        " VALUES ('accounts.read', :key, now(), 20, :key, now(), now(), 'NoToken: ...')",
        key=str(account_id),
    )
    await grants.AccountTokens(house.resources, account_id).access_token()
    assert await house.rows("SELECT 1 FROM outbox WHERE dead_at IS NOT NULL") == []
