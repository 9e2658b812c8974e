"""Hosts equal those at Zoom, are offered in a sensible order, and belong to the right members."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app import commands
from app.accounts import hosts, quotas, reservations
from app.accounts.host_ranking import Candidate
from app.accounts.models import Host
from app.core.errors import Problem
from tests.accounts.harness import ADA, BEN, CLEO, REQUIRED, WIL, AccountsHarness, admin

START = datetime(2027, 1, 13, 11, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def host_id_of(harness: AccountsHarness, email: str) -> UUID:
    ((host_id,),) = await harness.query("SELECT id FROM hosts WHERE email = :email", email=email)
    return UUID(str(host_id))


async def picker(
    harness: AccountsHarness,
    starts_at: datetime | None = None,
    exclude: UUID | None = None,
    member_id: str | None = None,
) -> dict[str, Candidate]:
    """The picker's hosts by e-mail, in its order."""
    ends_at = starts_at + HOUR if starts_at else None
    async with harness.resources.db.transaction() as tx:
        found = await hosts.candidates(tx, "c1", starts_at, ends_at, exclude, member_id)
    return {candidate.email: candidate for candidate in found}


async def reserve(
    harness: AccountsHarness, email: str, starts_at: datetime = START, event_id: UUID | None = None
) -> UUID:
    event_id = event_id or uuid4()
    key = await key_of(harness, email)
    async with harness.resources.db.transaction() as tx:
        await reservations.reserve(tx, [key], event_id, starts_at, starts_at + HOUR)
    return event_id


async def key_of(harness: AccountsHarness, email: str) -> str:
    ((zoom_user_id,),) = await harness.query("SELECT zoom_user_id FROM hosts WHERE email = :email", email=email)
    return reservations.host_key(zoom_user_id)


async def refresh_account(harness: AccountsHarness, account_id: UUID) -> None:
    async with harness.resources.db.transaction() as tx:
        tx.record(commands.ReadAccount(account_id))
    await harness.run_due_jobs()


async def test_the_picker_spans_all_accounts_licensed_hosts_first(harness: AccountsHarness) -> None:
    await harness.connect(admin(email=None))
    await harness.connect(admin(email=None), WIL)
    assert list(await picker(harness)) == [ADA, BEN, CLEO, WIL]


async def test_the_callers_own_host_comes_first(harness: AccountsHarness) -> None:
    await harness.connect(admin("cleo", email=CLEO))
    assert list(await picker(harness, member_id="cleo")) == [CLEO, ADA, BEN]


async def test_an_unlicensed_host_can_be_picked_but_its_links_are_not_personal(harness: AccountsHarness) -> None:
    await harness.connect(admin())
    cleo = (await picker(harness))[CLEO]
    assert (cleo.available, cleo.can_register) == (True, False)
    assert cleo.reason == "This host has no Zoom licence, so members' links are not personal."


async def test_a_host_is_busy_only_while_its_time_is_held_and_not_for_the_event_being_edited(
    harness: AccountsHarness,
) -> None:
    await harness.connect(admin())
    event_id = await reserve(harness, ADA)
    assert not (await picker(harness, START + HOUR / 2))[ADA].available
    assert list(await picker(harness, START))[-1] == ADA, "busy hosts come last"
    assert (await picker(harness, START + HOUR))[ADA].available, "the end does not belong to it"
    assert (await picker(harness, START, exclude=event_id))[ADA].available
    assert (await picker(harness))[ADA].available, "without times nobody is busy"


async def test_a_spent_budget_is_shown_with_its_reason(harness: AccountsHarness) -> None:
    await harness.connect(admin())
    key = await key_of(harness, ADA)
    async with harness.resources.db.transaction() as tx:
        assert all([await quotas.consume(tx, key, 100) for _ in range(100)])
        assert not await quotas.consume(tx, key, 100)
    ada = (await picker(harness))[ADA]
    assert (ada.available, ada.quota_left) == (True, 0)
    assert ada.reason == "Zoom takes no more meetings of this host today; one is made after midnight UTC."


async def test_hosts_of_an_account_that_must_be_connected_again_cannot_be_had(harness: AccountsHarness) -> None:
    await harness.connect(admin())
    await harness.execute("UPDATE accounts SET status = 'needs_reauth'")
    ada = (await picker(harness))[ADA]
    assert (ada.available, ada.reason) == (False, "This Zoom account must be connected again.")


async def test_a_disconnected_account_offers_nobody(harness: AccountsHarness) -> None:
    await harness.disconnect(await harness.connect(admin()))
    assert await picker(harness) == {}


async def test_the_promised_scopes_alone_list_every_seat_and_offer_the_own_user(harness: AccountsHarness) -> None:
    await harness.control_simulator("PUT", "/app", {"scopes": list(REQUIRED)})
    await harness.connect(admin())
    assert await harness.query("SELECT count(*) FROM hosts WHERE listed") == [(3,)]
    assert list(await picker(harness)) == [ADA]


async def test_a_foreign_unlisted_or_unreachable_host_is_refused_naming_the_field(harness: AccountsHarness) -> None:
    await harness.connect(admin())
    ada, ben = await host_id_of(harness, ADA), await host_id_of(harness, BEN)
    await harness.execute("UPDATE hosts SET listed = false WHERE id = :id", id=ben)
    async with harness.resources.db.transaction() as tx:
        assert (await hosts.require_usable(tx, "c1", ada)).email == ADA
        for community, host_id in (("c2", ada), ("c1", ben), ("c1", uuid4())):
            with pytest.raises(Problem) as refused:
                await hosts.require_usable(tx, community, host_id, field="alternative_hosts")
            assert refused.value.status == 422
            assert refused.value.extra["errors"][0]["field"] == "alternative_hosts"


async def test_a_host_of_an_account_to_be_connected_again_is_refused_with_that_reason(harness: AccountsHarness) -> None:
    await harness.connect(admin())
    ada = await host_id_of(harness, ADA)
    await harness.execute("UPDATE accounts SET status = 'needs_reauth'")
    async with harness.resources.db.transaction() as tx:
        with pytest.raises(Problem, match="must be connected again"):
            await hosts.require_usable(tx, "c1", ada)


async def test_a_verified_email_claims_its_host_and_only_in_that_community(harness: AccountsHarness) -> None:
    await harness.connect(admin())
    async with harness.resources.db.transaction() as tx:
        await hosts.claim_by_email(tx, "c2", admin("ben", email=BEN).caller)
        await hosts.claim_by_email(tx, "c1", admin("eve", email=BEN, verified=False).caller)
        assert (await tx.session.get_one(Host, await host_id_of(harness, BEN))).member_id is None
    async with harness.resources.db.transaction() as tx:
        await hosts.claim_by_email(tx, "c1", admin("ben", email=BEN).caller)
    assert await harness.query("SELECT member_id, member_set_by FROM hosts WHERE email = :email", email=BEN) == [
        ("ben", "equal-email")
    ]


@pytest.mark.parametrize("decided", ["otto", None])
async def test_what_an_admin_decided_about_a_host_no_email_overrides(
    harness: AccountsHarness, decided: str | None
) -> None:
    await harness.connect(admin())
    async with harness.resources.db.transaction() as tx:
        host = await hosts.get_in_community(tx, "c1", await host_id_of(harness, BEN))
        assert host is not None
        await hosts.assign(tx, host, decided, "olga")
        await hosts.claim_by_email(tx, "c1", admin("ben", email=BEN).caller)
    (row,) = await harness.query(
        "SELECT member_id, member_set_by, member_set_at FROM hosts WHERE email = :email", email=BEN
    )
    assert (row.member_id, row.member_set_by) == (decided, "olga")
    assert row.member_set_at is not None


async def test_reading_again_fills_in_what_every_licensed_host_can(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await refresh_account(harness, account_id)
    found = await harness.query("SELECT email, capacity, cloud_recording FROM hosts ORDER BY email")
    assert found == [(ADA, 300, True), (BEN, 300, True), (CLEO, None, None)]


async def test_a_user_who_lost_the_licence_or_left_is_noticed_and_the_row_is_kept(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.control_simulator("PATCH", f"/users/{BEN}", {"type": 1})
    await harness.control_simulator("PATCH", f"/users/{CLEO}", {"status": "inactive"})
    await refresh_account(harness, account_id)
    found = await harness.query("SELECT email, licensed, listed FROM hosts ORDER BY email")
    assert found == [(ADA, True, True), (BEN, False, True), (CLEO, False, False)]


async def test_who_cannot_hold_meetings_for_now_keeps_the_licence_their_meetings_were_made_with(
    harness: AccountsHarness,
) -> None:
    account_id = await harness.connect(admin())
    await harness.control_simulator("PATCH", f"/users/{BEN}", {"type": 4})
    await refresh_account(harness, account_id)
    assert await harness.query("SELECT licensed, listed FROM hosts WHERE email = :email", email=BEN) == [(True, False)]


async def test_a_host_of_another_user_than_the_one_who_connected_is_refused_with_that_reason(
    harness: AccountsHarness,
) -> None:
    await harness.control_simulator("PUT", "/app", {"scopes": list(REQUIRED)})
    await harness.connect(admin())
    ben = await host_id_of(harness, BEN)
    async with harness.resources.db.transaction() as tx:
        with pytest.raises(Problem, match="another Zoom user than the one who connected"):
            await hosts.require_usable(tx, "c1", ben)


async def test_a_deactivated_host_is_refused_with_that_reason(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.control_simulator("PATCH", f"/users/{BEN}", {"status": "inactive"})
    await refresh_account(harness, account_id)
    ben = await host_id_of(harness, BEN)
    async with harness.resources.db.transaction() as tx:
        with pytest.raises(Problem, match="deactivated or removed"):
            await hosts.require_usable(tx, "c1", ben)


async def test_a_host_too_small_for_the_event_comes_after_those_that_fit(harness: AccountsHarness) -> None:
    await harness.connect(admin(email=None))
    await harness.execute("UPDATE hosts SET capacity = CASE email WHEN :ben THEN 500 ELSE 100 END", ben=BEN)
    async with harness.resources.db.transaction() as tx:
        found = await hosts.candidates(tx, "c1", people=200)
    assert [candidate.email for candidate in found] == [BEN, ADA, CLEO]
    assert [[warned.type for warned in candidate.warnings] for candidate in found] == [
        [], ["capacity"], ["not-personal", "capacity"],
    ]  # fmt: skip


async def test_a_user_who_cannot_host_is_not_offered(harness: AccountsHarness) -> None:
    await harness.control_simulator("PATCH", f"/users/{CLEO}", {"type": 4})
    await harness.connect(admin())
    assert list(await picker(harness)) == [ADA, BEN]


async def test_a_failed_answer_never_removes_hosts(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.inject_fault("status", "users", status=503, times=None)
    await refresh_account(harness, account_id)
    assert await harness.query("SELECT count(*) FROM hosts WHERE listed") == [(3,)]


async def test_an_empty_answer_never_removes_hosts(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    for email in (ADA, BEN, CLEO):
        await harness.control_simulator("PATCH", f"/users/{email}", {"status": "inactive"})
    await refresh_account(harness, account_id)
    assert await harness.query("SELECT email FROM hosts WHERE listed ORDER BY email") == [(BEN,), (CLEO,)]


async def test_recording_switched_on_later_ends_the_warning(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin(), WIL)
    assert (await harness.account(account_id)).settings["cloud_recording"] is False
    await harness.control_simulator("PATCH", f"/users/{WIL}", {"settings": {"recording": {"cloud_recording": True}}})
    await refresh_account(harness, account_id)
    assert (await harness.account(account_id)).settings["cloud_recording"] is True


async def test_an_account_not_read_for_a_day_is_read_again(harness: AccountsHarness) -> None:
    account_id = await harness.connect(admin())
    await harness.run_due_jobs()
    read_at = (await harness.account(account_id)).read_at
    assert read_at
    harness.clock.ahead = timedelta(days=1, seconds=5)
    await harness.run_periodic()
    await harness.run_due_jobs()
    again = (await harness.account(account_id)).read_at
    assert again
    assert again > read_at
