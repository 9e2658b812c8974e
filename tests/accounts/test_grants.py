"""Tokens are renewed once, believed dead only when they are, and useless after a disconnect."""

import asyncio
import hashlib
import json
import os
import sys
from datetime import timedelta
from uuid import UUID

import pytest

from app.accounts import grants, token_store, trouble
from app.accounts.trouble import NoToken
from app.clients.zoom import Token
from app.core.outbox import NotNow
from tests.accounts.house import House, admin
from tests.accounts.race import TASKS
from tests.patience import PATIENCE

PROCESSES = 3


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, a refresh takes too long only where a test says so."""
    monkeypatch.setattr(grants, "PATIENCE", PATIENCE)


def tokens_of(house: House, account_id: UUID) -> grants.AccountTokens:
    return grants.AccountTokens(house.resources, account_id)


async def started(asked: dict[str, str | None]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.accounts.race",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(json.dumps(asked).encode() + b"\n")
    await process.stdin.drain()
    return process


async def raced(house: House, account_id: UUID, rejected: str | None = None) -> set[str]:
    """Three processes with twenty tasks each ask at the same moment; the digests of what they were given."""
    settings = house.resources.settings
    asked: dict[str, str | None] = {
        "database_url": settings.database_url.get_secret_value(),
        "zoom_url": settings.zoom_api_url,
        "account_id": str(account_id),
        "rejected": rejected,
    }
    processes = [await started(asked) for _ in range(PROCESSES)]
    for process in processes:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0] * PROCESSES
    given = [token for out, _ in answers for token in json.loads(out)]
    assert len(given) == PROCESSES * TASKS
    return set(given)


async def test_a_good_token_is_used_as_it_is(house: House) -> None:
    source = tokens_of(house, await house.connect(admin()))
    assert await source.access_token() == await source.access_token()
    assert await house.calls("oauthRefresh") == []


async def test_a_token_is_renewed_before_it_ends(house: House) -> None:
    source = tokens_of(house, await house.connect(admin()))
    first = await source.access_token()
    house.clock.ahead = timedelta(minutes=53)
    assert await source.access_token() == first
    house.clock.ahead = timedelta(minutes=55, seconds=1)
    assert await source.access_token() != first
    assert len(await house.calls("oauthRefresh")) == 1


async def test_twenty_tasks_in_three_processes_make_one_refresh_call(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    await house.fault("latency", "oauthRefresh", seconds=0.5)
    given = await raced(house, account_id)
    assert len(await house.calls("oauthRefresh")) == 1
    stored = await tokens_of(house, account_id).access_token()
    assert given == {hashlib.sha256(stored.encode()).hexdigest()}


async def test_a_token_refused_in_three_processes_at_once_is_replaced_by_one_refresh_call(house: House) -> None:
    account_id = await house.connect(admin())
    refused = await tokens_of(house, account_id).access_token()
    await house.fault("latency", "oauthRefresh", seconds=0.5)
    given = await raced(house, account_id, refused)
    assert len(await house.calls("oauthRefresh")) == 1
    assert len(given) == 1
    assert hashlib.sha256(refused.encode()).hexdigest() not in given


async def test_both_tokens_are_stored_before_the_new_one_is_used(house: House) -> None:
    account_id = await house.connect(admin())
    for _ in range(3):
        await house.expire(account_id)
        token = await tokens_of(house, account_id).access_token()
        (row,) = await house.rows("SELECT access_token FROM grants")
        assert house.resources.seal.open(row.access_token, f"grants.access_token:{account_id}") == token
    assert await house.rows("SELECT generation FROM grants") == [(4,)]
    assert (await house.account(account_id)).status == "connected"


async def test_a_refresh_goes_on_when_whoever_asked_is_gone(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    asking = await refreshing(house, account_id)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await answered(house)
    await tokens_of(house, account_id).access_token()
    assert len(await house.calls("oauthRefresh")) == 1


async def test_inserts_that_reference_the_account_go_on_during_a_refresh(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    asking = await refreshing(house, account_id)
    await house.change(
        "INSERT INTO hosts (id, account_id, zoom_user_id, licensed, listed)"
        " VALUES (gen_random_uuid(), :account_id, 'somebody', false, false)",
        account_id=account_id,
    )
    await house.change("UPDATE accounts SET notified_at = now() WHERE id = :id", id=account_id)
    assert not asking.done()
    await answered(house)
    await asking


async def test_a_dead_grant_is_noticed_on_the_next_call_and_says_to_connect_again(house: House) -> None:
    account_id = await house.connect(admin())
    await house.control("POST", "/deauthorize", {"user": "ada@riverside.example"})
    client = await grants.zoom(house.resources, account_id)
    with pytest.raises(NotNow) as parked:
        await client.get_me()
    assert parked.value.again == "parked"
    account = await house.account(account_id)
    assert account.status == "needs_reauth"
    assert account.reason == trouble.NEEDS_REAUTH
    assert len(await house.calls("oauthRefresh")) == 1


@pytest.mark.parametrize("dies", [True, False], ids=["died", "unanswered"])
async def test_a_grant_whose_new_tokens_were_lost_is_not_said_to_have_been_removed(house: House, dies: bool) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    if dies:
        asking = await refreshing(house, account_id)
        (renewal,) = (task for task in asyncio.all_tasks() if task.get_name() == "token refresh")
        renewal.cancel()
        await asyncio.gather(asking, renewal, return_exceptions=True)
        await answered(house)
    else:
        await house.fault("lose_answer", "oauthRefresh")
        with pytest.raises(NoToken):
            await tokens_of(house, account_id).access_token()
    assert (await house.account(account_id)).status == "connected", "nobody knows yet"
    with pytest.raises(NotNow) as parked:
        await tokens_of(house, account_id).access_token()
    assert parked.value.again == "parked"
    account = await house.account(account_id)
    assert (account.status, account.reason) == ("needs_reauth", trouble.NEEDS_REAUTH_AFTER_LOSS)
    await house.connect(admin())
    await house.expire(account_id)
    await house.control("POST", "/deauthorize", {"user": "ada@riverside.example", "notify": False})
    with pytest.raises(NotNow):
        await tokens_of(house, account_id).access_token()
    assert (await house.account(account_id)).reason == trouble.NEEDS_REAUTH, "that loss is over"


async def test_a_refresh_that_zoom_refused_or_never_got_is_no_loss(house: House) -> None:
    account_id = await house.connect(admin())
    refused = {"kind": "status", "status": 400, "body": {"error": "invalid_request"}}
    for fault in (refused, {"kind": "rate_per_second"}):
        await house.expire(account_id)
        await house.control("PUT", "/faults", {"calls": [fault | {"operation": "oauthRefresh"}]})
        with pytest.raises(NotNow):
            await tokens_of(house, account_id).access_token()
        assert await house.rows("SELECT asked_at FROM grants") == [(None,)]
    assert await tokens_of(house, account_id).access_token()
    assert await house.rows("SELECT asked_at FROM grants") == [(None,)]


async def test_a_grant_known_to_be_dead_is_not_tried_again(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    await house.fault("invalid_grant", "oauthRefresh", times=None)
    refused = await asyncio.gather(
        *(tokens_of(house, account_id).access_token() for _ in range(10)), return_exceptions=True
    )
    assert all(isinstance(error, NotNow) and error.again == "parked" for error in refused)
    assert len(await house.calls("oauthRefresh")) == 1
    with pytest.raises(NotNow):
        await grants.zoom(house.resources, account_id)


async def lose_the_lock(house: House) -> None:
    """End the connection that holds the grant during a refresh, as a restart of PostgreSQL would."""
    await house.change(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state = 'idle in transaction'"
    )


async def refreshing(house: House, account_id: UUID, kind: str = "latency") -> asyncio.Task[str]:
    """A refresh that Zoom answers, with `invalid_grant` or tokens, once it is `answered`."""
    calls = [{"kind": kind, "operation": "oauthRefresh"}]
    await house.control("PUT", "/faults", {"latency_seconds": 60, "calls": calls})
    asking = asyncio.create_task(tokens_of(house, account_id).access_token())
    await house.asked("oauthRefresh")
    return asking


async def answered(house: House) -> None:
    """Zoom answers what it has been asked."""
    await house.control("PUT", "/faults", {})


async def test_invalid_grant_is_not_believed_when_somebody_else_has_refreshed(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    asking = await refreshing(house, account_id, "invalid_grant")
    await lose_the_lock(house)
    theirs = Token(access_token="theirs", refresh_token="theirs too", expires_in=3600)
    async with house.resources.db.transaction() as tx:
        await token_store.keep(tx, house.resources.seal, account_id, theirs, house.resources.settings.zoom_api_url)
    await answered(house)
    assert await asking == "theirs"
    assert (await house.account(account_id)).status == "connected"


async def test_an_answer_whose_connection_was_lost_is_still_stored(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    asking = await refreshing(house, account_id)
    await lose_the_lock(house)
    await answered(house)
    token = await asking
    assert await tokens_of(house, account_id).access_token() == token
    assert len(await house.calls("oauthRefresh")) == 1


async def test_an_answer_that_comes_after_the_disconnect_is_discarded_and_revoked(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    asking = await refreshing(house, account_id)
    await lose_the_lock(house)
    await house.disconnect(account_id)
    await answered(house)
    with pytest.raises(NotNow) as parked:
        await asking
    assert parked.value.again == "parked"
    assert await house.rows("SELECT count(*) FROM grants") == [(0,)]
    assert await house.rows("SELECT count(*) FROM revocations") == [(2,)]
    await house.work()
    assert await house.grants_alive() == 0
    assert await house.rows("SELECT count(*) FROM revocations") == [(0,)]


async def test_a_disconnect_during_a_refresh_takes_the_new_tokens_too(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    asking = await refreshing(house, account_id)
    disconnecting = asyncio.create_task(house.disconnect(account_id))  # it waits for the refresh
    await house.waits_for_a_lock()
    await answered(house)
    await disconnecting
    assert await asking
    assert await house.rows("SELECT count(*) FROM grants") == [(0,)]
    await house.work()
    assert await house.grants_alive() == 0


async def test_a_refresh_that_takes_too_long_is_tried_later(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    monkeypatch.setattr(grants, "PATIENCE", 0.2)
    await house.fault("latency", "oauthRefresh", seconds=60)
    with pytest.raises(NotNow) as later:
        await tokens_of(house, account_id).access_token()
    await answered(house)
    assert later.value.again == "later"
    assert (await house.account(account_id)).status == "connected"


async def test_a_zoom_that_is_away_is_no_dead_grant(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    await house.fault("status", "oauthRefresh", status=503)
    with pytest.raises(NoToken) as error:
        await tokens_of(house, account_id).access_token()
    assert error.value.again == "later"
    assert (await house.account(account_id)).status == "connected"
    assert await tokens_of(house, account_id).access_token()


async def test_wrong_credentials_of_the_operator_park_the_work_instead_of_losing_it(house: House) -> None:
    account_id = await house.connect(admin())
    await house.expire(account_id)
    await house.control("PUT", "/app", {"client_secret": "rotated"})
    with pytest.raises(NotNow) as parked:
        await tokens_of(house, account_id).access_token()
    assert parked.value.again == "parked"
    assert (await house.account(account_id)).status == "connected"


async def test_nobody_can_call_zoom_for_an_account_that_is_not_connected(house: House) -> None:
    account_id = await house.connect(admin())
    await house.disconnect(account_id)
    for asked in (account_id, UUID(int=0)):
        with pytest.raises(NotNow) as parked:
            await grants.zoom(house.resources, asked)
        assert parked.value.again == "parked"
