"""A response is lost, then the member changes their mind.

Zoom ends up as the member answered last, and until then nobody is shown what is not known.
"""

import asyncio
from typing import Any

import pytest

from app.registrants import daily_additions
from tests.support.registrant_steps import (
    ADDRESS,
    ALWAYS,
    LISTS,
    NOTICES,
    STRANGER,
    click_join,
    event_at_noon,
    fill_in_form,
    is_let_in,
    registrant,
    seconds_to_midnight,
    send_notification,
    spend_additions_without_response,
    statuses,
    withdraw_with_lost_response,
)
from tests.support.service import RunningService
from tests.support.steps import (
    ADD,
    LIST,
    STATUS,
    advance,
    advance_past_midnight,
    delayed,
    lost_answer,
    lost_notification,
    only_meeting,
    quota_used,
    rsvp,
    set_faults,
    sync,
    zoom_calls,
    zoom_unreachable,
)
from tests.support.timeouts import TIMEOUT

GRANTS = [(), (NOTICES,), (LISTS,), (NOTICES, LISTS)]
AGAIN = 0.2  # minutes, after which a job that has failed a few times runs again


@pytest.mark.parametrize("scopes", GRANTS, ids=["fourteen", "notices", "lists", "all"])
async def test_who_comes_after_all_while_it_is_unknown_whether_they_were_cancelled_gets_in(
    service: RunningService, scopes: tuple[str, ...]
) -> None:
    event = await event_at_noon(service, *scopes)
    await withdraw_with_lost_response(service, event)
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] != "denied"
    await set_faults(service)
    await advance(service, AGAIN)
    assert await registrant(service, event) == {"state": "ready", "reason": None}
    assert await is_let_in(service, event)
    assert (await statuses(service))[ADDRESS] == "approved"
    assert len(await zoom_calls(service, ADD)) == 2


@pytest.mark.parametrize("scopes", [(NOTICES,), (NOTICES, LISTS)], ids=["notices", "all"])
async def test_our_own_cancel_that_zoom_tells_of_after_the_change_of_mind_is_nobody_elses(
    service: RunningService, scopes: tuple[str, ...]
) -> None:
    event = await event_at_noon(service, *scopes)
    await rsvp(service, event)
    await advance(service, 2)
    lost = (lost_notification("meeting.registration_cancelled", None),)
    await set_faults(service, lost_answer(STATUS, ALWAYS), notifications=lost)
    await rsvp(service, event, status="not_going")
    cancelled_at = service.clock.now()
    await rsvp(service, event)
    await send_notification(service, "cancelled", cancelled_at)
    assert "inside Zoom" not in str(await registrant(service, event))
    await set_faults(service)
    await advance(service, AGAIN)
    assert await registrant(service, event) == {"state": "ready", "reason": None}
    assert await is_let_in(service, event)


async def test_until_it_is_known_join_leads_to_no_link_zoom_has_cancelled(service: RunningService) -> None:
    event = await event_at_noon(service)
    await withdraw_with_lost_response(service, event)
    await set_faults(
        service, lost_answer(STATUS, ALWAYS), {"kind": "status", "operation": ADD, "status": 503, "times": None}
    )
    await rsvp(service, event)
    refused = await click_join(service, event)
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (503, "not-ready")
    assert "inside Zoom" not in refused.json()["detail"]
    assert (await registrant(service, event))["state"] == "pending"
    await set_faults(service)
    await advance(service)
    assert await is_let_in(service, event)


async def test_a_cancel_that_never_left_leaves_the_link_as_good_as_it_was(service: RunningService) -> None:
    event = await event_at_noon(service)
    await rsvp(service, event)
    await advance(service, 2)
    async with zoom_unreachable(service):
        await rsvp(service, event, status="not_going")
        await rsvp(service, event)
        assert await is_let_in(service, event)
    await advance(service, AGAIN)
    assert await registrant(service, event) == {"state": "ready", "reason": None}
    assert len(await zoom_calls(service, ADD, STATUS)) == 1


@pytest.mark.parametrize("scopes", GRANTS, ids=["fourteen", "notices", "lists", "all"])
async def test_who_stays_away_while_it_is_unknown_whether_they_were_added_is_taken_off(
    service: RunningService, scopes: tuple[str, ...]
) -> None:
    event = await event_at_noon(service, *scopes)
    await set_faults(service, lost_answer(ADD, ALWAYS))
    await rsvp(service, event)
    assert await statuses(service) == {ADDRESS: "approved"}
    await rsvp(service, event, status="not_going")
    await advance(service, 2)
    assert await statuses(service) == {ADDRESS: "cancelled"}
    assert (await registrant(service, event))["state"] == "cancelled"
    await set_faults(service)
    await rsvp(service, event)
    await advance(service, AGAIN)
    assert await is_let_in(service, event)


async def test_an_address_that_changes_while_it_is_unknown_whether_it_was_added_leaves_nobody_behind(
    service: RunningService,
) -> None:
    event = await event_at_noon(service)
    await set_faults(service, lost_answer(ADD, ALWAYS))
    await rsvp(service, event)
    await rsvp(service, event, email="moved@members.example")
    await set_faults(service)
    await advance(service, 2)
    assert await statuses(service) == {ADDRESS: "cancelled", "moved@members.example": "approved"}
    assert await is_let_in(service, event)


async def test_an_address_that_changes_and_changes_back_is_the_one_that_counts(service: RunningService) -> None:
    event = await event_at_noon(service)
    await rsvp(service, event)
    await set_faults(service, lost_answer(STATUS, ALWAYS))
    await rsvp(service, event, email="moved@members.example")
    await rsvp(service, event)
    await set_faults(service)
    await advance(service, 2)
    assert await statuses(service) == {ADDRESS: "approved"}
    assert await is_let_in(service, event)


async def test_a_link_taken_back_without_an_answer_ends_and_its_owner_gets_another(service: RunningService) -> None:
    event = await event_at_noon(service)
    await rsvp(service, event)
    (before,) = (each["join_url"] for each in (await only_meeting(service))["registrants"])
    await set_faults(service, lost_answer(STATUS, ALWAYS))
    path = f"/api/events/{event['id']}/registrations/m-member/new-link"
    assert (await service.post("admin", path)).status_code == 202
    await service.wait_idle()
    for status in ("not_going", "going"):
        await rsvp(service, event, status=status)
    assert not await is_let_in(service, event)
    await set_faults(service)
    await advance(service)
    links = {each["join_url"]: each["status"] for each in (await only_meeting(service))["registrants"]}
    assert links.pop(before) == "cancelled"
    assert list(links.values()) == ["approved"]
    assert await is_let_in(service, event)


async def test_a_link_may_be_taken_back_while_it_is_unknown_whether_its_owner_was_cancelled(
    service: RunningService,
) -> None:
    event = await event_at_noon(service)
    await withdraw_with_lost_response(service, event)
    (before,) = (each["join_url"] for each in (await only_meeting(service))["registrants"])
    await rsvp(service, event)
    path = f"/api/events/{event['id']}/registrations/m-member/new-link"
    assert (await service.post("admin", path)).status_code == 202
    await set_faults(service)
    await advance(service)
    links = {each["join_url"]: each["status"] for each in (await only_meeting(service))["registrants"]}
    assert links.pop(before) == "cancelled"
    assert list(links.values()) == ["approved"]


async def test_a_stranger_who_was_denied_without_an_answer_and_becomes_a_member_gets_in(
    service: RunningService,
) -> None:
    event = await event_at_noon(service, NOTICES)
    await set_faults(service, lost_answer(STATUS, ALWAYS))
    await fill_in_form(service, STRANGER)
    await rsvp(service, event, email=STRANGER)
    await set_faults(service)
    await advance(service)
    assert (await registrant(service, event))["state"] == "ready"
    assert await is_let_in(service, event)


async def test_our_own_denial_of_somebody_who_became_a_member_meanwhile_is_nobody_elses(
    service: RunningService,
) -> None:
    event = await event_at_noon(service, NOTICES)
    async with delayed(service, STATUS):
        meeting = await only_meeting(service)
        form = {"first_name": "Sam", "email": STRANGER}
        (await service.zoom.post(meeting["registration_url"], data=form)).raise_for_status()
        await wait_for_call(service, STATUS)
        path = f"/api/events/{event['id']}/rsvp"
        token = service.platform.token("member", service.clock.now(), email=STRANGER)
        going = await service.api.put(path, json={"status": "going"}, headers={"Authorization": f"Bearer {token}"})
        assert going.status_code == 200
        await wait_for_call(service, ADD)
    await service.wait_idle()
    await advance(service, AGAIN)
    assert await registrant(service, event) == {"state": "ready", "reason": None}
    assert await is_let_in(service, event)


async def wait_for_call(service: RunningService, operation: str) -> None:
    """Wait until Zoom has received a call."""
    async with asyncio.timeout(TIMEOUT):
        while not await zoom_calls(service, operation):  # noqa: ASYNC110 - the journal rings for nobody
            await asyncio.sleep(0.01)


async def test_two_of_the_three_additions_are_spent_by_itself_and_the_third_when_the_member_joins(
    service: RunningService,
) -> None:
    event = await event_at_noon(service)
    await set_faults(service, lost_answer(ADD, ALWAYS))
    await rsvp(service, event)
    for _ in range(4):
        await advance(service)
    assert len(await zoom_calls(service, ADD)) == 2
    assert (await registrant(service, event)) == {"state": "pending", "reason": daily_additions.LAST_ADDITION_RESERVED}
    await set_faults(service)
    assert await is_let_in(service, event)
    assert await quota_used(service, "registrant:%") == 3


@pytest.mark.parametrize("asked", ["rsvp", "behalf", "new-link", "sync"])
async def test_the_third_addition_is_made_for_whoever_asks(service: RunningService, asked: str) -> None:
    event = await event_at_noon(service)
    await set_faults(service, lost_answer(ADD, ALWAYS))
    await rsvp(service, event)
    await advance(service)
    await set_faults(service)
    await request_registration(service, event, asked)
    assert (await registrant(service, event))["state"] == "ready"
    assert await is_let_in(service, event)


async def request_registration(service: RunningService, event: dict[str, Any], how: str) -> None:
    """Ask in one of four ways that the member be registered, and wait until the service is idle."""
    path = f"/api/events/{event['id']}/registrations/m-member"
    if how == "rsvp":
        await rsvp(service, event)
    elif how == "sync":
        await sync(service, event)
    elif how == "behalf":
        assert (await service.call("admin", "PUT", path, json={"status": "going"})).status_code == 200
    else:
        assert (await service.post("admin", f"{path}/new-link")).status_code == 202
    await service.wait_idle()


async def test_where_nothing_can_be_done_before_midnight_everybody_is_told_so(service: RunningService) -> None:
    event = await event_at_noon(service)
    await spend_additions_without_response(service, event, lost_answer(ADD, 3))
    refused = await click_join(service, event)
    assert (refused.status_code, refused.json()["detail"]) == (
        503,
        "Zoom takes three registrations of one address a day: your place in the meeting is made after midnight UTC.",
    )
    assert abs(int(refused.headers["Retry-After"]) - seconds_to_midnight(service)) < 60
    path = f"/api/events/{event['id']}/registrations/m-member"
    for _ in range(5):
        response = await service.post("admin", f"{path}/new-link")
        await service.wait_idle()
    assert (response.status_code, "midnight UTC" in response.json()["detail"]) == (409, True)
    assert abs(int(response.headers["Retry-After"]) - seconds_to_midnight(service)) < 60
    assert {call["status"] for call in (await zoom_calls(service, ADD))[3:]} == {429}, (
        "only Zoom knows, and says so once"
    )
    assert len(await zoom_calls(service, ADD)) == 4
    await sync(service, event)
    assert len(await zoom_calls(service, ADD)) == 4
    assert "midnight" in (await registrant(service, event))["reason"]
    await advance_past_midnight(service)
    assert (await registrant(service, event))["state"] == "ready"


@pytest.mark.parametrize("how", ["behalf", "new-link", "sync"])
async def test_where_zoom_did_nothing_an_organiser_lets_in_who_used_up_our_own_count(
    service: RunningService, how: str
) -> None:
    event = await event_at_noon(service)
    await spend_additions_without_response(service, event, {"kind": "close_before", "operation": ADD, "times": 3})
    assert not await is_let_in(service, event)
    await request_registration(service, event, how)
    assert (await registrant(service, event))["state"] == "ready"
    assert await is_let_in(service, event)


async def test_where_the_list_may_be_read_a_lost_answer_costs_no_second_addition(service: RunningService) -> None:
    event = await event_at_noon(service, LISTS)
    await set_faults(service, lost_answer(ADD))
    await rsvp(service, event)
    await advance(service, AGAIN)
    assert await is_let_in(service, event)
    assert (len(await zoom_calls(service, ADD)), len(await zoom_calls(service, LIST))) == (1, 1)


async def test_where_the_list_may_be_read_whoever_zoom_has_gets_in_though_nothing_is_left_of_the_day(
    service: RunningService,
) -> None:
    event = await event_at_noon(service, LISTS)
    down = {"kind": "status", "operation": LIST, "status": 503, "times": None}
    await set_faults(service, lost_answer(ADD), down)
    await rsvp(service, event)
    await advance(service)
    await service.resources.db.pool.execute("UPDATE quota_usage SET used = 3 WHERE key LIKE 'registrant:%'")
    await set_faults(service)
    assert await is_let_in(service, event)
    assert len(await zoom_calls(service, ADD)) == 1


async def test_a_change_of_mind_is_not_kept_waiting_by_a_day_whose_changes_are_used_up(service: RunningService) -> None:
    event = await event_at_noon(service)
    await rsvp(service, event)
    await advance(service, 2)
    await set_faults(service, lost_answer(STATUS, ALWAYS))
    await rsvp(service, event, status="not_going")
    for _ in range(12):
        await advance(service)
    assert len(await zoom_calls(service, STATUS)) == 10
    await set_faults(service)
    await rsvp(service, event)
    assert await is_let_in(service, event)
    assert (await statuses(service))[ADDRESS] == "approved"
