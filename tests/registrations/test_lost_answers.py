"""An answer that is lost, then a change of mind: Zoom ends up as the member said last, and until then nobody is told
what nobody knows."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.registrations import additions
from tests.living import Living
from tests.meetings.house import (
    ADD,
    LIST,
    STATUS,
    after_midnight,
    at_noon,
    calls,
    faults,
    grant,
    held_up,
    later,
    lost_answer,
    lost_notification,
    rsvp,
    sync,
    the_meeting,
    unreachable,
    used,
)
from tests.patience import PATIENCE
from tests.registrations.test_noticed import STRANGER, fill_in, say
from tests.registrations.test_registrants import registrant, statuses

ADDRESS = "member@members.example"
NOTICES, LISTS = "meeting:read:registrant", "meeting:read:list_registrants"
GRANTS = [(), (NOTICES,), (LISTS,), (NOTICES, LISTS)]
ALWAYS = 50  # calls: as often as anybody tries
AGAIN = 0.2  # minutes; whatever was tried a few times in vain is tried again


async def evening(living: Living, *scopes: str) -> dict[str, Any]:
    """An event that begins in ten minutes, at noon, on an account that grants `scopes` besides the fourteen."""
    await at_noon(living)
    if scopes:
        await grant(living, *scopes)
    await living.connect()
    now = living.clock.now()
    starts, ends = now + timedelta(minutes=10), now + timedelta(hours=14)
    event: dict[str, Any] = await living.event(starts_at=starts.isoformat(), ends_at=ends.isoformat())
    return event


async def join(living: Living, event: dict[str, Any], who: str = "member") -> httpx.Response:
    """A click on Join."""
    return await living.post(who, f"/api/events/{event['id']}/zoom-join")


async def let_in(living: Living, event: dict[str, Any], who: str = "member") -> bool:
    """Whether a click on Join leads to a link by which Zoom lets somebody in."""
    clicked = await join(living, event, who)
    if clicked.status_code != 200:
        return False
    location = (await living.get(None, clicked.json()["url"])).headers["location"]
    return location in [
        each["join_url"] for each in (await the_meeting(living))["registrants"] if each["status"] == "approved"
    ]


async def withdrawn_without_an_answer(living: Living, event: dict[str, Any]) -> None:
    """The member came, and does not come after all: Zoom cancels them and its answers are lost."""
    await rsvp(living, event)
    await later(living, 2)
    await faults(living, lost_answer(STATUS, ALWAYS))
    await rsvp(living, event, status="not_going")
    assert await statuses(living) == {ADDRESS: "cancelled"}


def seconds_to_midnight(living: Living) -> float:
    """Until 00:00 UTC."""
    now = living.clock.now()
    return (now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1) - now).total_seconds()


@pytest.mark.parametrize("scopes", GRANTS, ids=["fourteen", "notices", "lists", "all"])
async def test_who_comes_after_all_while_it_is_unknown_whether_they_were_cancelled_gets_in(
    living: Living, scopes: tuple[str, ...]
) -> None:
    event = await evening(living, *scopes)
    await withdrawn_without_an_answer(living, event)
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] != "denied"
    await faults(living)
    await later(living, AGAIN)
    assert await registrant(living, event) == {"state": "ready", "reason": None}
    assert await let_in(living, event)
    assert (await statuses(living))[ADDRESS] == "approved"
    assert len(await calls(living, ADD)) == 2


@pytest.mark.parametrize("scopes", [(NOTICES,), (NOTICES, LISTS)], ids=["notices", "all"])
async def test_our_own_cancel_that_zoom_tells_of_after_the_change_of_mind_is_nobody_elses(
    living: Living, scopes: tuple[str, ...]
) -> None:
    event = await evening(living, *scopes)
    await rsvp(living, event)
    await later(living, 2)
    unheard = (lost_notification("meeting.registration_cancelled", None),)
    await faults(living, lost_answer(STATUS, ALWAYS), notifications=unheard)
    await rsvp(living, event, status="not_going")
    cancelled_at = living.clock.now()
    await rsvp(living, event)
    await say(living, "cancelled", cancelled_at)
    assert "inside Zoom" not in str(await registrant(living, event))
    await faults(living)
    await later(living, AGAIN)
    assert await registrant(living, event) == {"state": "ready", "reason": None}
    assert await let_in(living, event)


async def test_until_it_is_known_join_leads_to_no_link_zoom_has_cancelled(living: Living) -> None:
    event = await evening(living)
    await withdrawn_without_an_answer(living, event)
    await faults(
        living, lost_answer(STATUS, ALWAYS), {"kind": "status", "operation": ADD, "status": 503, "times": None}
    )
    await rsvp(living, event)
    refused = await join(living, event)
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (503, "not-ready")
    assert "inside Zoom" not in refused.json()["detail"]
    assert (await registrant(living, event))["state"] == "pending"
    await faults(living)
    await later(living)
    assert await let_in(living, event)


async def test_a_cancel_that_never_left_leaves_the_link_as_good_as_it_was(living: Living) -> None:
    event = await evening(living)
    await rsvp(living, event)
    await later(living, 2)
    async with unreachable(living):
        await rsvp(living, event, status="not_going")
        await rsvp(living, event)
        assert await let_in(living, event)
    await later(living, AGAIN)
    assert await registrant(living, event) == {"state": "ready", "reason": None}
    assert len(await calls(living, ADD, STATUS)) == 1


@pytest.mark.parametrize("scopes", GRANTS, ids=["fourteen", "notices", "lists", "all"])
async def test_who_stays_away_while_it_is_unknown_whether_they_were_added_is_taken_off(
    living: Living, scopes: tuple[str, ...]
) -> None:
    event = await evening(living, *scopes)
    await faults(living, lost_answer(ADD, ALWAYS))
    await rsvp(living, event)
    assert await statuses(living) == {ADDRESS: "approved"}
    await rsvp(living, event, status="not_going")
    await later(living, 2)
    assert await statuses(living) == {ADDRESS: "cancelled"}
    assert (await registrant(living, event))["state"] == "cancelled"
    await faults(living)
    await rsvp(living, event)
    await later(living, AGAIN)
    assert await let_in(living, event)


async def test_an_address_that_changes_while_it_is_unknown_whether_it_was_added_leaves_nobody_behind(
    living: Living,
) -> None:
    event = await evening(living)
    await faults(living, lost_answer(ADD, ALWAYS))
    await rsvp(living, event)
    await rsvp(living, event, email="moved@members.example")
    await faults(living)
    await later(living, 2)
    assert await statuses(living) == {ADDRESS: "cancelled", "moved@members.example": "approved"}
    assert await let_in(living, event)


async def test_an_address_that_changes_and_changes_back_is_the_one_that_counts(living: Living) -> None:
    event = await evening(living)
    await rsvp(living, event)
    await faults(living, lost_answer(STATUS, ALWAYS))
    await rsvp(living, event, email="moved@members.example")
    await rsvp(living, event)
    await faults(living)
    await later(living, 2)
    assert await statuses(living) == {ADDRESS: "approved"}
    assert await let_in(living, event)


async def test_a_link_taken_back_without_an_answer_ends_and_its_owner_gets_another(living: Living) -> None:
    event = await evening(living)
    await rsvp(living, event)
    (before,) = (each["join_url"] for each in (await the_meeting(living))["registrants"])
    await faults(living, lost_answer(STATUS, ALWAYS))
    path = f"/api/events/{event['id']}/registrations/m-member/new-link"
    assert (await living.post("admin", path)).status_code == 202
    await living.quiet()
    for status in ("not_going", "going"):
        await rsvp(living, event, status=status)
    assert not await let_in(living, event)
    await faults(living)
    await later(living)
    links = {each["join_url"]: each["status"] for each in (await the_meeting(living))["registrants"]}
    assert links.pop(before) == "cancelled"
    assert list(links.values()) == ["approved"]
    assert await let_in(living, event)


async def test_a_link_may_be_taken_back_while_it_is_unknown_whether_its_owner_was_cancelled(living: Living) -> None:
    event = await evening(living)
    await withdrawn_without_an_answer(living, event)
    (before,) = (each["join_url"] for each in (await the_meeting(living))["registrants"])
    await rsvp(living, event)
    path = f"/api/events/{event['id']}/registrations/m-member/new-link"
    assert (await living.post("admin", path)).status_code == 202
    await faults(living)
    await later(living)
    links = {each["join_url"]: each["status"] for each in (await the_meeting(living))["registrants"]}
    assert links.pop(before) == "cancelled"
    assert list(links.values()) == ["approved"]


async def test_a_stranger_who_was_denied_without_an_answer_and_becomes_a_member_gets_in(living: Living) -> None:
    event = await evening(living, NOTICES)
    await faults(living, lost_answer(STATUS, ALWAYS))
    await fill_in(living, STRANGER)
    await rsvp(living, event, email=STRANGER)
    await faults(living)
    await later(living)
    assert (await registrant(living, event))["state"] == "ready"
    assert await let_in(living, event)


async def test_our_own_denial_of_somebody_who_became_a_member_meanwhile_is_nobody_elses(living: Living) -> None:
    event = await evening(living, NOTICES)
    async with held_up(living, STATUS):
        meeting = await the_meeting(living)
        form = {"first_name": "Sam", "email": STRANGER}
        (await living.zoom.post(meeting["registration_url"], data=form)).raise_for_status()
        await called(living, STATUS)
        path = f"/api/events/{event['id']}/rsvp"
        token = living.platform.token("member", living.clock.now(), email=STRANGER)
        going = await living.api.put(path, json={"status": "going"}, headers={"Authorization": f"Bearer {token}"})
        assert going.status_code == 200
        await called(living, ADD)
    await living.quiet()
    await later(living, AGAIN)
    assert await registrant(living, event) == {"state": "ready", "reason": None}
    assert await let_in(living, event)


async def called(living: Living, operation: str) -> None:
    """Return when Zoom has got a call."""
    async with asyncio.timeout(PATIENCE):
        while not await calls(living, operation):  # noqa: ASYNC110 - the journal rings for nobody
            await asyncio.sleep(0.01)


async def test_two_of_the_three_additions_are_spent_by_itself_and_the_third_when_the_member_joins(
    living: Living,
) -> None:
    event = await evening(living)
    await faults(living, lost_answer(ADD, ALWAYS))
    await rsvp(living, event)
    for _ in range(4):
        await later(living)
    assert len(await calls(living, ADD)) == 2
    assert (await registrant(living, event)) == {"state": "pending", "reason": additions.KEPT_BACK}
    await faults(living)
    assert await let_in(living, event)
    assert await used(living, "registrant:%") == 3


@pytest.mark.parametrize("asked", ["rsvp", "behalf", "new-link", "sync"])
async def test_the_third_addition_is_made_for_whoever_asks(living: Living, asked: str) -> None:
    event = await evening(living)
    await faults(living, lost_answer(ADD, ALWAYS))
    await rsvp(living, event)
    await later(living)
    await faults(living)
    await ask(living, event, asked)
    assert (await registrant(living, event))["state"] == "ready"
    assert await let_in(living, event)


async def ask(living: Living, event: dict[str, Any], how: str) -> None:
    """Somebody asks that the member be registered, and everything comes to rest."""
    path = f"/api/events/{event['id']}/registrations/m-member"
    if how == "rsvp":
        await rsvp(living, event)
    elif how == "sync":
        await sync(living, event)
    elif how == "behalf":
        assert (await living.call("admin", "PUT", path, json={"status": "going"})).status_code == 200
    else:
        assert (await living.post("admin", f"{path}/new-link")).status_code == 202
    await living.quiet()


async def spent_without_an_answer(living: Living, event: dict[str, Any], fault: dict[str, Any]) -> None:
    """All three additions of the day are made, and no answer comes."""
    await faults(living, fault)
    await rsvp(living, event)
    await later(living)
    await rsvp(living, event)
    assert len(await calls(living, ADD)) == 3
    await faults(living)
    await later(living)
    assert len(await calls(living, ADD)) == 3


async def test_where_nothing_can_be_done_before_midnight_everybody_is_told_so(living: Living) -> None:
    event = await evening(living)
    await spent_without_an_answer(living, event, lost_answer(ADD, 3))
    refused = await join(living, event)
    assert (refused.status_code, refused.json()["detail"]) == (
        503,
        "Zoom takes three registrations of one address a day: your place in the meeting is made after midnight UTC.",
    )
    assert abs(int(refused.headers["Retry-After"]) - seconds_to_midnight(living)) < 60
    path = f"/api/events/{event['id']}/registrations/m-member"
    for _ in range(5):
        told = await living.post("admin", f"{path}/new-link")
        await living.quiet()
    assert (told.status_code, "midnight UTC" in told.json()["detail"]) == (409, True)
    assert abs(int(told.headers["Retry-After"]) - seconds_to_midnight(living)) < 60
    assert {call["status"] for call in (await calls(living, ADD))[3:]} == {429}, "only Zoom knows, and says so once"
    assert len(await calls(living, ADD)) == 4
    await sync(living, event)
    assert len(await calls(living, ADD)) == 4
    assert "midnight" in (await registrant(living, event))["reason"]
    await after_midnight(living)
    assert (await registrant(living, event))["state"] == "ready"


@pytest.mark.parametrize("how", ["behalf", "new-link", "sync"])
async def test_where_zoom_did_nothing_an_organiser_lets_in_who_used_up_our_own_count(living: Living, how: str) -> None:
    event = await evening(living)
    await spent_without_an_answer(living, event, {"kind": "close_before", "operation": ADD, "times": 3})
    assert not await let_in(living, event)
    await ask(living, event, how)
    assert (await registrant(living, event))["state"] == "ready"
    assert await let_in(living, event)


async def test_where_the_list_may_be_read_a_lost_answer_costs_no_second_addition(living: Living) -> None:
    event = await evening(living, LISTS)
    await faults(living, lost_answer(ADD))
    await rsvp(living, event)
    await later(living, AGAIN)
    assert await let_in(living, event)
    assert (len(await calls(living, ADD)), len(await calls(living, LIST))) == (1, 1)


async def test_where_the_list_may_be_read_whoever_zoom_has_gets_in_though_nothing_is_left_of_the_day(
    living: Living,
) -> None:
    event = await evening(living, LISTS)
    down = {"kind": "status", "operation": LIST, "status": 503, "times": None}
    await faults(living, lost_answer(ADD), down)
    await rsvp(living, event)
    await later(living)
    await living.held.db.hot.execute("UPDATE budgets SET used = 3 WHERE subject LIKE 'registrant:%'")
    await faults(living)
    assert await let_in(living, event)
    assert len(await calls(living, ADD)) == 1


async def test_a_change_of_mind_is_not_kept_waiting_by_a_day_whose_changes_are_used_up(living: Living) -> None:
    event = await evening(living)
    await rsvp(living, event)
    await later(living, 2)
    await faults(living, lost_answer(STATUS, ALWAYS))
    await rsvp(living, event, status="not_going")
    for _ in range(12):
        await later(living)
    assert len(await calls(living, STATUS)) == 10
    await faults(living)
    await rsvp(living, event)
    assert await let_in(living, event)
    assert (await statuses(living))[ADDRESS] == "approved"
