"""A member clicks on Join while the outcome of a call about their registrant is unknown.

They are let in, or told the truth and the time. They never end up at Zoom's page "You are not registered".
"""

from typing import Any

import httpx
import pytest

from tests.support.faulty_transport import FaultyTransport
from tests.support.registrant_steps import (
    ALWAYS,
    click_join,
    event_at_noon,
    is_let_in,
    seconds_to_midnight,
    spend_additions_without_response,
    statuses,
    withdraw_with_lost_response,
)
from tests.support.service import RunningService
from tests.support.steps import ADD, STATUS, advance, lost_answer, rsvp, set_faults, zoom_calls

PAGE = {"Accept": "text/html"}


def problem_slug(answer: httpx.Response) -> str:
    """Return the slug of a problem."""
    return str(answer.json()["type"]).rpartition("/")[2]


async def test_the_click_itself_finds_out_however_long_the_next_try_was_put_off(service: RunningService) -> None:
    event = await event_at_noon(service)
    await withdraw_with_lost_response(service, event)
    for _ in range(5):
        await advance(service)
    await rsvp(service, event)
    await set_faults(service)
    assert await is_let_in(service, event)


async def test_the_click_itself_has_an_addition_without_an_answer_made_again(service: RunningService) -> None:
    event = await event_at_noon(service)
    await set_faults(service, lost_answer(ADD))
    await rsvp(service, event)
    assert await is_let_in(service, event)
    assert len(await zoom_calls(service, ADD)) == 2


async def test_while_zoom_may_still_cancel_nobody_is_sent_there_and_everybody_is_told_for_how_long(
    service: RunningService,
) -> None:
    event = await event_at_noon(service)
    await rsvp(service, event)
    await advance(service, 2)
    wires = FaultyTransport("late")
    with wires.hung():
        await rsvp(service, event, status="not_going")
        assert len(wires.delayed) == 1
        await rsvp(service, event)
        refused = await click_join(service, event)
        assert (refused.status_code, problem_slug(refused)) == (503, "not-ready")
        assert 5 <= int(refused.headers["Retry-After"]) <= 30
        await wires.deliver_delayed()
        await advance(service, 0.6)
        assert await is_let_in(service, event)
    assert set((await statuses(service)).values()) == {"approved"}


@pytest.mark.parametrize(
    ("locale", "phrase"), [("en", "midnight UTC"), ("de", "Mitternacht (UTC)")], ids=["English", "German"]
)
async def test_who_cannot_be_registered_today_is_told_so_in_their_language_with_the_time(
    service: RunningService, locale: str, phrase: str
) -> None:
    event = await event_at_noon(service)
    await spend_additions_without_response(service, event, lost_answer(ADD, ALWAYS))
    token = service.platform.token("member", service.clock.now(), locale=locale)
    headers = PAGE | {"Authorization": f"Bearer {token}"}
    page = await service.api.post(f"/api/events/{event['id']}/zoom-join", headers=headers)
    assert (page.status_code, phrase in page.text) == (503, True)
    assert abs(int(page.headers["Retry-After"]) - seconds_to_midnight(service)) < 60


async def test_nobody_was_taken_off_inside_zoom_where_it_was_our_own_cancel(service: RunningService) -> None:
    event = await event_at_noon(service, "meeting:read:registrant", "meeting:read:list_registrants")
    await withdraw_with_lost_response(service, event)
    answers: list[Any] = []
    for _ in range(3):
        await rsvp(service, event)
        answers.append(await click_join(service, event))
        await rsvp(service, event, status="not_going")
        await advance(service, 2)
    assert "inside Zoom" not in "".join(answer.text for answer in answers)
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert await zoom_calls(service, STATUS)
