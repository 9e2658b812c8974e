"""Tokens are refreshed once, count as dead only if they are, and are useless after a disconnect."""

import asyncio
import hashlib
import json
import os
import sys
from datetime import timedelta
from uuid import UUID

import pytest

from app.accounts import grants, token_errors, token_store
from app.accounts.token_errors import TokenUnavailable
from app.clients.zoom import Token
from app.core.outbox import RetryLater
from tests.accounts.harness import AccountsHarness, admin
from tests.accounts.refresh_race_worker import TASKS
from tests.support.timeouts import TIMEOUT

PROCESSES = 3


@pytest.fixture(autouse=True)
def long_refresh_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not make a refresh time out, except where a test sets the timeout itself."""
    monkeypatch.setattr(grants, "REFRESH_TIMEOUT", TIMEOUT)


def tokens_of(harness: AccountsHarness, account_id: UUID) -> grants.AccountTokens:
    return grants.AccountTokens(harness.resources, account_id)


async def start_worker(arguments: dict[str, str | None]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.accounts.refresh_race_worker",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(json.dumps(arguments).encode() + b"\n")
    await process.stdin.drain()
    return process


async def run_race(harness: AccountsHarness, account_id: UUID, rejected: str | None = None) -> set[str]:
    """Let three processes with twenty tasks each ask for a token at once; return the tokens' digests."""
    settings = harness.resources.settings
    arguments: dict[str, str | None] = {
        "database_url": settings.database_url.get_secret_value(),
        "zoom_url": settings.zoom_api_url,
        "account_id": str(account_id),
        "rejected": rejected,
    }
    processes = [await start_worker(arguments) for _ in range(PROCESSES)]
    for process in processes:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0] * PROCESSES
    digests = [token for out, _ in answers for token in json.loads(out)]
    assert len(digests) == PROCESSES * TASKS
    return set(digests)


async def test_a_good_token_is_used_as_it_is(harness: AccountsHarness) -> None:
    source = tokens_of(harness, await harness.connect(admin()))
    assert await source.access_token() == await source.access_token()
    assert await harness.zoom_calls("oauthRefresh") == []


async def test_a_token_is_renewed_before_it_ends(harness: AccountsHarness) -> None:
    source = tokens_of(harness, await harness.connect(admin()))
    first = await source.access_token()
    harness.clock.ahead = timedelta(minutes=53)
    assert await source.access_token() == first
    harness.clock.ahead = timedelta(minutes=55, seconds=1)
    assert await source.access_token() != first
    assert len(await harness.zoom_calls("oauthRefresh")) == 1


async def test_twenty_tasks_in_three_processes_make_one_refresh_call(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    await harness.inject_fault("latency", "oauthRefresh", seconds=0.5)
    digests = await run_race(harness, account_id)
    assert len(await harness.zoom_calls("oauthRefresh")) == 1
    stored = await tokens_of(harness, account_id).access_token()
    assert digests == {hashlib.sha256(stored.encode()).hexdigest()}


async def test_a_token_refused_in_three_processes_at_once_is_replaced_by_one_refresh_call(
    harness: AccountsHarness,
) -> None:
    account_id = await harness.connect(admin())
    refused = await tokens_of(harness, account_id).access_token()
    await harness.inject_fault("latency", "oauthRefresh", seconds=0.5)
    digests = await run_race(harness, account_id, refused)
    assert len(await harness.zoom_calls("oauthRefresh")) == 1
    assert len(digests) == 1
    assert hashlib.sha256(refused.encode()).hexdigest() not in digests


async def test_both_tokens_are_stored_before_the_new_one_is_used(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    for _ in range(3):
        await harness.expire_access_token(account_id)
        token = await tokens_of(harness, account_id).access_token()
        (row,) = await harness.query("SELECT access_token FROM grants")
        assert harness.resources.encryption.decrypt(row.access_token, f"grants.access_token:{account_id}") == token
    assert await harness.query("SELECT generation FROM grants") == [(4,)]
    assert (await harness.account(account_id)).status == "connected"


async def test_a_refresh_goes_on_when_whoever_asked_is_gone(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    asking = await start_refresh(harness, account_id)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await let_zoom_answer(harness)
    await tokens_of(harness, account_id).access_token()
    assert len(await harness.zoom_calls("oauthRefresh")) == 1


async def test_inserts_that_reference_the_account_go_on_during_a_refresh(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    asking = await start_refresh(harness, account_id)
    await harness.execute(
        "INSERT INTO hosts (id, account_id, zoom_user_id, licensed, listed)"
        " VALUES (gen_random_uuid(), :account_id, 'somebody', false, false)",
        account_id=account_id,
    )
    await harness.execute("UPDATE accounts SET notified_at = now() WHERE id = :id", id=account_id)
    assert not asking.done()
    await let_zoom_answer(harness)
    await asking


async def test_a_dead_grant_is_noticed_on_the_next_call_and_says_to_connect_again(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.control_simulator("POST", "/deauthorize", {"user": "ada@riverside.example"})
    client = await grants.client_for(harness.resources, account_id)
    with pytest.raises(RetryLater) as caught:
        await client.get_me()
    assert caught.value.retry == "when_reconnected"
    account = await harness.account(account_id)
    assert account.status == "needs_reauth"
    assert account.reason == token_errors.NEEDS_REAUTH
    assert len(await harness.zoom_calls("oauthRefresh")) == 1


@pytest.mark.parametrize("dies", [True, False], ids=["died", "unanswered"])
async def test_a_grant_whose_new_tokens_were_lost_is_not_said_to_have_been_removed(
    harness: AccountsHarness, dies: bool
) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    if dies:
        asking = await start_refresh(harness, account_id)
        (renewal,) = (task for task in asyncio.all_tasks() if task.get_name() == "token refresh")
        renewal.cancel()
        await asyncio.gather(asking, renewal, return_exceptions=True)
        await let_zoom_answer(harness)
    else:
        await harness.inject_fault("lose_answer", "oauthRefresh")
        with pytest.raises(TokenUnavailable):
            await tokens_of(harness, account_id).access_token()
    assert (await harness.account(account_id)).status == "connected", "nobody knows yet"
    with pytest.raises(RetryLater) as caught:
        await tokens_of(harness, account_id).access_token()
    assert caught.value.retry == "when_reconnected"
    account = await harness.account(account_id)
    assert (account.status, account.reason) == ("needs_reauth", token_errors.NEEDS_REAUTH_AFTER_LOSS)
    await harness.connect(admin())
    await harness.expire_access_token(account_id)
    await harness.control_simulator("POST", "/deauthorize", {"user": "ada@riverside.example", "notify": False})
    with pytest.raises(RetryLater):
        await tokens_of(harness, account_id).access_token()
    assert (await harness.account(account_id)).reason == token_errors.NEEDS_REAUTH, "that loss is over"


async def test_a_refresh_that_zoom_refused_or_never_got_is_no_loss(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    refused = {"kind": "status", "status": 400, "body": {"error": "invalid_request"}}
    for fault in (refused, {"kind": "rate_per_second"}):
        await harness.expire_access_token(account_id)
        await harness.control_simulator("PUT", "/faults", {"calls": [fault | {"operation": "oauthRefresh"}]})
        with pytest.raises(RetryLater):
            await tokens_of(harness, account_id).access_token()
        assert await harness.query("SELECT refresh_started_at FROM grants") == [(None,)]
    assert await tokens_of(harness, account_id).access_token()
    assert await harness.query("SELECT refresh_started_at FROM grants") == [(None,)]


async def test_a_grant_known_to_be_dead_is_not_tried_again(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    await harness.inject_fault("invalid_grant", "oauthRefresh", times=None)
    refused = await asyncio.gather(
        *(tokens_of(harness, account_id).access_token() for _ in range(10)), return_exceptions=True
    )
    assert all(isinstance(error, RetryLater) and error.retry == "when_reconnected" for error in refused)
    assert len(await harness.zoom_calls("oauthRefresh")) == 1
    with pytest.raises(RetryLater):
        await grants.client_for(harness.resources, account_id)


async def lose_the_lock(harness: AccountsHarness) -> None:
    """End the connection that holds the grant's lock during a refresh, as a restart of PostgreSQL would."""
    await harness.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state = 'idle in transaction'"
    )


async def start_refresh(harness: AccountsHarness, account_id: UUID, kind: str = "latency") -> asyncio.Task[str]:
    """Start a refresh that Zoom does not answer before `let_zoom_answer`.

    Then Zoom answers with tokens, or with `invalid_grant` if that is the `kind`.
    """
    calls = [{"kind": kind, "operation": "oauthRefresh"}]
    await harness.control_simulator("PUT", "/faults", {"latency_seconds": 60, "calls": calls})
    asking = asyncio.create_task(tokens_of(harness, account_id).access_token())
    await harness.wait_for_call("oauthRefresh")
    return asking


async def let_zoom_answer(harness: AccountsHarness) -> None:
    """Let Zoom answer the calls that wait."""
    await harness.control_simulator("PUT", "/faults", {})


async def test_invalid_grant_is_not_believed_when_somebody_else_has_refreshed(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    asking = await start_refresh(harness, account_id, "invalid_grant")
    await lose_the_lock(harness)
    theirs = Token(access_token="theirs", refresh_token="theirs too", expires_in=3600)
    async with harness.resources.db.transaction() as tx:
        await token_store.store_tokens(
            tx, harness.resources.encryption, account_id, theirs, harness.resources.settings.zoom_api_url
        )
    await let_zoom_answer(harness)
    assert await asking == "theirs"
    assert (await harness.account(account_id)).status == "connected"


async def test_an_answer_whose_connection_was_lost_is_still_stored(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    asking = await start_refresh(harness, account_id)
    await lose_the_lock(harness)
    await let_zoom_answer(harness)
    token = await asking
    assert await tokens_of(harness, account_id).access_token() == token
    assert len(await harness.zoom_calls("oauthRefresh")) == 1


async def test_an_answer_that_comes_after_the_disconnect_is_discarded_and_revoked(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    asking = await start_refresh(harness, account_id)
    await lose_the_lock(harness)
    await harness.disconnect(account_id)
    await let_zoom_answer(harness)
    with pytest.raises(RetryLater) as caught:
        await asking
    assert caught.value.retry == "when_reconnected"
    assert await harness.query("SELECT count(*) FROM grants") == [(0,)]
    assert await harness.query("SELECT count(*) FROM revocations") == [(2,)]
    await harness.run_due_jobs()
    assert await harness.count_live_grants() == 0
    assert await harness.query("SELECT count(*) FROM revocations") == [(0,)]


async def test_a_disconnect_during_a_refresh_takes_the_new_tokens_too(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    asking = await start_refresh(harness, account_id)
    disconnecting = asyncio.create_task(harness.disconnect(account_id))  # it waits for the refresh
    await harness.wait_for_lock_waiter()
    await let_zoom_answer(harness)
    await disconnecting
    assert await asking
    assert await harness.query("SELECT count(*) FROM grants") == [(0,)]
    await harness.run_due_jobs()
    assert await harness.count_live_grants() == 0


async def test_a_refresh_that_takes_too_long_is_tried_later(
    harness: AccountsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    monkeypatch.setattr(grants, "REFRESH_TIMEOUT", 0.2)
    await harness.inject_fault("latency", "oauthRefresh", seconds=60)
    with pytest.raises(RetryLater) as caught:
        await tokens_of(harness, account_id).access_token()
    await let_zoom_answer(harness)
    assert caught.value.retry == "backoff"
    assert (await harness.account(account_id)).status == "connected"


async def test_a_zoom_that_is_away_is_no_dead_grant(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    await harness.inject_fault("status", "oauthRefresh", status=503)
    with pytest.raises(TokenUnavailable) as error:
        await tokens_of(harness, account_id).access_token()
    assert error.value.retry == "backoff"
    assert (await harness.account(account_id)).status == "connected"
    assert await tokens_of(harness, account_id).access_token()


async def test_wrong_credentials_of_the_operator_park_the_work_instead_of_losing_it(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.expire_access_token(account_id)
    await harness.control_simulator("PUT", "/app", {"client_secret": "rotated"})
    with pytest.raises(RetryLater) as caught:
        await tokens_of(harness, account_id).access_token()
    assert caught.value.retry == "when_reconnected"
    assert (await harness.account(account_id)).status == "connected"


async def test_nobody_can_call_zoom_for_an_account_that_is_not_connected(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.disconnect(account_id)
    for unconnected_id in (account_id, UUID(int=0)):
        with pytest.raises(RetryLater) as caught:
            await grants.client_for(harness.resources, unconnected_id)
        assert caught.value.retry == "when_reconnected"
