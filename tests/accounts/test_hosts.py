"""Hosts are what Zoom says they are, offered in a sensible order, and belong to whom they should."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app import facts
from app.accounts import budgets, hosts, reservations
from app.accounts.models import Host
from app.accounts.routing import Candidate
from app.core.errors import Problem
from tests.accounts.house import ADA, BEN, CLEO, REQUIRED, WIL, House, admin

START = datetime(2027, 1, 13, 11, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def host_of(house: House, email: str) -> UUID:
    ((host_id,),) = await house.rows("SELECT id FROM hosts WHERE email = :email", email=email)
    return UUID(str(host_id))


async def offered(
    house: House, starts_at: datetime | None = None, exclude: UUID | None = None, member_id: str | None = None
) -> dict[str, Candidate]:
    """The picker's hosts by e-mail, in its order."""
    ends_at = starts_at + HOUR if starts_at else None
    async with house.resources.db.transaction() as tx:
        found = await hosts.candidates(tx, "c1", starts_at, ends_at, exclude, member_id)
    return {candidate.email: candidate for candidate in found}


async def hold(house: House, email: str, starts_at: datetime = START, event_id: UUID | None = None) -> UUID:
    event_id = event_id or uuid4()
    subject = await subject_of(house, email)
    async with house.resources.db.transaction() as tx:
        await reservations.hold(tx, [subject], event_id, starts_at, starts_at + HOUR)
    return event_id


async def subject_of(house: House, email: str) -> str:
    ((zoom_user_id,),) = await house.rows("SELECT zoom_user_id FROM hosts WHERE email = :email", email=email)
    return reservations.of_host(zoom_user_id)


async def ask_to_read(house: House, account_id: UUID) -> None:
    async with house.resources.db.transaction() as tx:
        tx.record(facts.AccountRefreshAsked(account_id))
    await house.work()


async def test_the_picker_spans_all_accounts_licensed_hosts_first(house: House) -> None:
    await house.connect(admin(email=None))
    await house.connect(admin(email=None), WIL)
    assert list(await offered(house)) == [ADA, BEN, CLEO, WIL]


async def test_the_callers_own_host_comes_first(house: House) -> None:
    await house.connect(admin("cleo", email=CLEO))
    assert list(await offered(house, member_id="cleo")) == [CLEO, ADA, BEN]


async def test_an_unlicensed_host_can_be_picked_but_its_links_are_not_personal(house: House) -> None:
    await house.connect(admin())
    cleo = (await offered(house))[CLEO]
    assert (cleo.available, cleo.can_register) == (True, False)
    assert cleo.reason == "This host has no Zoom licence, so members' links are not personal."


async def test_a_host_is_busy_only_while_its_time_is_held_and_not_for_the_event_being_edited(house: House) -> None:
    await house.connect(admin())
    event_id = await hold(house, ADA)
    assert not (await offered(house, START + HOUR / 2))[ADA].available
    assert list(await offered(house, START))[-1] == ADA, "busy hosts come last"
    assert (await offered(house, START + HOUR))[ADA].available, "the end does not belong to it"
    assert (await offered(house, START, exclude=event_id))[ADA].available
    assert (await offered(house))[ADA].available, "without times nobody is busy"


async def test_a_spent_budget_is_shown_with_its_reason(house: House) -> None:
    await house.connect(admin())
    subject = await subject_of(house, ADA)
    async with house.resources.db.transaction() as tx:
        assert all([await budgets.spend(tx, subject, 100) for _ in range(100)])
        assert not await budgets.spend(tx, subject, 100)
    ada = (await offered(house))[ADA]
    assert (ada.available, ada.budget_left) == (True, 0)
    assert ada.reason == "Zoom takes no more meetings of this host today; one is made after midnight UTC."


async def test_hosts_of_an_account_that_must_be_connected_again_cannot_be_had(house: House) -> None:
    await house.connect(admin())
    await house.change("UPDATE accounts SET status = 'needs_reauth'")
    ada = (await offered(house))[ADA]
    assert (ada.available, ada.reason) == (False, "This Zoom account must be connected again.")


async def test_a_disconnected_account_offers_nobody(house: House) -> None:
    await house.disconnect(await house.connect(admin()))
    assert await offered(house) == {}


async def test_the_promised_scopes_alone_list_every_seat_and_offer_the_own_user(house: House) -> None:
    await house.control("PUT", "/app", {"scopes": list(REQUIRED)})
    await house.connect(admin())
    assert await house.rows("SELECT count(*) FROM hosts WHERE listed") == [(3,)]
    assert list(await offered(house)) == [ADA]


async def test_a_foreign_unlisted_or_unreachable_host_is_refused_naming_the_field(house: House) -> None:
    await house.connect(admin())
    ada, ben = await host_of(house, ADA), await host_of(house, BEN)
    await house.change("UPDATE hosts SET listed = false WHERE id = :id", id=ben)
    async with house.resources.db.transaction() as tx:
        assert (await hosts.usable(tx, "c1", ada)).email == ADA
        for community, host_id in (("c2", ada), ("c1", ben), ("c1", uuid4())):
            with pytest.raises(Problem) as refused:
                await hosts.usable(tx, community, host_id, field="alternative_hosts")
            assert refused.value.status == 422
            assert refused.value.extra["errors"][0]["field"] == "alternative_hosts"


async def test_a_host_of_an_account_to_be_connected_again_is_refused_with_that_reason(house: House) -> None:
    await house.connect(admin())
    ada = await host_of(house, ADA)
    await house.change("UPDATE accounts SET status = 'needs_reauth'")
    async with house.resources.db.transaction() as tx:
        with pytest.raises(Problem, match="must be connected again"):
            await hosts.usable(tx, "c1", ada)


async def test_a_verified_email_claims_its_host_and_only_in_that_community(house: House) -> None:
    await house.connect(admin())
    async with house.resources.db.transaction() as tx:
        await hosts.claim_by_email(tx, "c2", admin("ben", email=BEN).caller)
        await hosts.claim_by_email(tx, "c1", admin("eve", email=BEN, verified=False).caller)
        assert (await tx.session.get_one(Host, await host_of(house, BEN))).member_id is None
    async with house.resources.db.transaction() as tx:
        await hosts.claim_by_email(tx, "c1", admin("ben", email=BEN).caller)
    assert await house.rows("SELECT member_id, member_set_by FROM hosts WHERE email = :email", email=BEN) == [
        ("ben", "equal-email")
    ]


@pytest.mark.parametrize("decided", ["otto", None])
async def test_what_an_admin_decided_about_a_host_no_email_overrides(house: House, decided: str | None) -> None:
    await house.connect(admin())
    async with house.resources.db.transaction() as tx:
        host = await hosts.inside(tx, "c1", await host_of(house, BEN))
        assert host is not None
        await hosts.assign(tx, host, decided, "olga")
        await hosts.claim_by_email(tx, "c1", admin("ben", email=BEN).caller)
    (row,) = await house.rows(
        "SELECT member_id, member_set_by, member_set_at FROM hosts WHERE email = :email", email=BEN
    )
    assert (row.member_id, row.member_set_by) == (decided, "olga")
    assert row.member_set_at is not None


async def test_reading_again_fills_in_what_every_licensed_host_can(house: House) -> None:
    account_id = await house.connect(admin())
    await ask_to_read(house, account_id)
    found = await house.rows("SELECT email, capacity, cloud_recording FROM hosts ORDER BY email")
    assert found == [(ADA, 300, True), (BEN, 300, True), (CLEO, None, None)]


async def test_a_user_who_lost_the_licence_or_left_is_noticed_and_the_row_is_kept(house: House) -> None:
    account_id = await house.connect(admin())
    await house.control("PATCH", f"/users/{BEN}", {"type": 1})
    await house.control("PATCH", f"/users/{CLEO}", {"status": "inactive"})
    await ask_to_read(house, account_id)
    found = await house.rows("SELECT email, licensed, listed FROM hosts ORDER BY email")
    assert found == [(ADA, True, True), (BEN, False, True), (CLEO, False, False)]


async def test_who_cannot_hold_meetings_for_now_keeps_the_licence_their_meetings_were_made_with(house: House) -> None:
    account_id = await house.connect(admin())
    await house.control("PATCH", f"/users/{BEN}", {"type": 4})
    await ask_to_read(house, account_id)
    assert await house.rows("SELECT licensed, listed FROM hosts WHERE email = :email", email=BEN) == [(True, False)]


async def test_a_host_of_another_user_than_the_one_who_connected_is_refused_with_that_reason(house: House) -> None:
    await house.control("PUT", "/app", {"scopes": list(REQUIRED)})
    await house.connect(admin())
    ben = await host_of(house, BEN)
    async with house.resources.db.transaction() as tx:
        with pytest.raises(Problem, match="another Zoom user than the one who connected"):
            await hosts.usable(tx, "c1", ben)


async def test_a_deactivated_host_is_refused_with_that_reason(house: House) -> None:
    account_id = await house.connect(admin())
    await house.control("PATCH", f"/users/{BEN}", {"status": "inactive"})
    await ask_to_read(house, account_id)
    ben = await host_of(house, BEN)
    async with house.resources.db.transaction() as tx:
        with pytest.raises(Problem, match="deactivated or removed"):
            await hosts.usable(tx, "c1", ben)


async def test_a_host_too_small_for_the_event_comes_after_those_that_fit(house: House) -> None:
    await house.connect(admin(email=None))
    await house.change("UPDATE hosts SET capacity = CASE email WHEN :ben THEN 500 ELSE 100 END", ben=BEN)
    async with house.resources.db.transaction() as tx:
        found = await hosts.candidates(tx, "c1", people=200)
    assert [candidate.email for candidate in found] == [BEN, ADA, CLEO]
    assert [[warned.type for warned in candidate.warnings] for candidate in found] == [
        [], ["capacity"], ["not-personal", "capacity"],
    ]  # fmt: skip


async def test_a_user_who_cannot_host_is_not_offered(house: House) -> None:
    await house.control("PATCH", f"/users/{CLEO}", {"type": 4})
    await house.connect(admin())
    assert list(await offered(house)) == [ADA, BEN]


async def test_a_failed_answer_never_removes_hosts(house: House) -> None:
    account_id = await house.connect(admin())
    await house.fault("status", "users", status=503, times=None)
    await ask_to_read(house, account_id)
    assert await house.rows("SELECT count(*) FROM hosts WHERE listed") == [(3,)]


async def test_an_empty_answer_never_removes_hosts(house: House) -> None:
    account_id = await house.connect(admin())
    for email in (ADA, BEN, CLEO):
        await house.control("PATCH", f"/users/{email}", {"status": "inactive"})
    await ask_to_read(house, account_id)
    assert await house.rows("SELECT email FROM hosts WHERE listed ORDER BY email") == [(BEN,), (CLEO,)]


async def test_recording_switched_on_later_ends_the_warning(house: House) -> None:
    account_id = await house.connect(admin(), WIL)
    assert (await house.account(account_id)).settings["cloud_recording"] is False
    await house.control("PATCH", f"/users/{WIL}", {"settings": {"recording": {"cloud_recording": True}}})
    await ask_to_read(house, account_id)
    assert (await house.account(account_id)).settings["cloud_recording"] is True


async def test_an_account_not_read_for_a_day_is_read_again(house: House) -> None:
    account_id = await house.connect(admin())
    await house.work()
    read_at = (await house.account(account_id)).read_at
    assert read_at
    house.clock.ahead = timedelta(days=1, seconds=5)
    await house.sweep()
    await house.work()
    again = (await house.account(account_id)).read_at
    assert again
    assert again > read_at
