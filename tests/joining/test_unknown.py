"""Somebody clicks on Join while nobody knows what became of a call about their place: they come in, or are told the
truth and the time; never do they end up before Zoom's "You are not registered"."""

from typing import Any

import httpx
import pytest

from tests.living import Living
from tests.meetings.house import ADD, STATUS, calls, faults, later, lost_answer, rsvp
from tests.registrations.test_lost_answers import (
    ALWAYS,
    evening,
    join,
    let_in,
    seconds_to_midnight,
    spent_without_an_answer,
    withdrawn_without_an_answer,
)
from tests.registrations.test_registrants import statuses
from tests.registrations.wires import Wires

PAGE = {"Accept": "text/html"}


def slug(answer: httpx.Response) -> str:
    """The slug of a problem."""
    return str(answer.json()["type"]).rpartition("/")[2]


async def test_the_click_itself_finds_out_however_long_the_next_try_was_put_off(living: Living) -> None:
    event = await evening(living)
    await withdrawn_without_an_answer(living, event)
    for _ in range(5):
        await later(living)
    await rsvp(living, event)
    await faults(living)
    assert await let_in(living, event)


async def test_the_click_itself_has_an_addition_without_an_answer_made_again(living: Living) -> None:
    event = await evening(living)
    await faults(living, lost_answer(ADD))
    await rsvp(living, event)
    assert await let_in(living, event)
    assert len(await calls(living, ADD)) == 2


async def test_while_zoom_may_still_cancel_nobody_is_sent_there_and_everybody_is_told_for_how_long(
    living: Living,
) -> None:
    event = await evening(living)
    await rsvp(living, event)
    await later(living, 2)
    wires = Wires("late")
    with wires.hung():
        await rsvp(living, event, status="not_going")
        assert len(wires.late) == 1
        await rsvp(living, event)
        refused = await join(living, event)
        assert (refused.status_code, slug(refused)) == (503, "not-ready")
        assert 5 <= int(refused.headers["Retry-After"]) <= 30
        await wires.deliver()
        await later(living, 0.6)
        assert await let_in(living, event)
    assert set((await statuses(living)).values()) == {"approved"}


@pytest.mark.parametrize(
    ("locale", "said"), [("en", "midnight UTC"), ("de", "Mitternacht (UTC)")], ids=["English", "German"]
)
async def test_who_cannot_be_registered_today_is_told_so_in_their_language_with_the_time(
    living: Living, locale: str, said: str
) -> None:
    event = await evening(living)
    await spent_without_an_answer(living, event, lost_answer(ADD, ALWAYS))
    token = living.platform.token("member", living.clock.now(), locale=locale)
    headers = PAGE | {"Authorization": f"Bearer {token}"}
    page = await living.api.post(f"/api/events/{event['id']}/zoom-join", headers=headers)
    assert (page.status_code, said in page.text) == (503, True)
    assert abs(int(page.headers["Retry-After"]) - seconds_to_midnight(living)) < 60


async def test_nobody_was_taken_off_inside_zoom_where_it_was_our_own_cancel(living: Living) -> None:
    event = await evening(living, "meeting:read:registrant", "meeting:read:list_registrants")
    await withdrawn_without_an_answer(living, event)
    answers: list[Any] = []
    for _ in range(3):
        await rsvp(living, event)
        answers.append(await join(living, event))
        await rsvp(living, event, status="not_going")
        await later(living, 2)
    assert "inside Zoom" not in "".join(answer.text for answer in answers)
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert await calls(living, STATUS)
