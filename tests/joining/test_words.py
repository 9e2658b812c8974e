"""The door's sentences follow the member's locale, as mails do."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from app.joining import decide as door
from app.joining import readiness, words
from app.joining.decide import Refusal, decide, decide_start
from app.joining.join_context import Situation
from app.registrations import rivals
from app.registrations.texts import ENGLISH, GERMAN
from tests.joining.conftest import NUMBER, Scene
from tests.joining.test_decide import OPENS, moments, situations

PAGE = {"Accept": "text/html"}


@given(situations, moments)
def test_every_refusal_can_be_said_in_german(seen: Situation, now: datetime) -> None:
    for verdict in (decide(seen, now, OPENS), decide_start(seen, now)):
        if isinstance(verdict, Refusal):
            german = words.said(verdict.sentence, verdict.given, verdict.opens_at, GERMAN)
            assert german != verdict.detail
            assert "{" not in german + verdict.detail
            assert words.said(verdict.way_on, {}, None, GERMAN) != verdict.way_on


@pytest.mark.parametrize(
    "sentence",
    [
        *(getattr(readiness, name) for name in ("UNVERIFIED", "BARRED", "DISCONNECTED", "FAILED", "FAILED_SOMEHOW")),
        *(
            readiness.NOT_YET,
            readiness.AFTER_MIDNIGHT,
            readiness.SOON,
            rivals.TAKEN,
            door.IN_ZOOM_ITSELF,
            door.RECONNECT.sentence,
        ),
    ],
)
def test_each_reason_for_having_no_link_has_a_german_sentence(sentence: str) -> None:
    assert sentence in words.GERMAN


def test_when_the_door_opens_is_said_in_the_zone_of_the_event() -> None:
    opens_at, given_ = datetime(2027, 1, 10, 14, 45, tzinfo=UTC), {"timezone": "Europe/Berlin"}
    said = [words.said("The door opens on {opens_at}.", given_, opens_at, language) for language in (ENGLISH, GERMAN)]
    assert said == [
        "The door opens on Sunday, 10 January 2027 at 15:45 (Europe/Berlin).",
        "Der Einlass beginnt am Sonntag, 10. Januar 2027 um 15:45 Uhr (Europe/Berlin).",
    ]


async def test_a_member_is_told_in_the_language_of_the_token_else_of_the_answer(scene: Scene) -> None:
    registration = await scene.register("ann", locale="de_AT", rsvp="maybe")
    path = f"/api/events/{scene.event}/zoom-join"

    async def told(headers: dict[str, str], **claims: Any) -> Any:
        return await scene.house.http.post(path, headers={**scene.signed_in("ann", **claims), **headers})

    for claims, begins in ({}, "Du hast"), ({"locale": "de"}, "Du hast"), ({"locale": "en-GB"}, "You answered"):
        assert (await told({}, **claims)).json()["detail"].startswith(begins)
    page = await told(PAGE)
    assert '<html lang="de">' in page.text
    assert "Zum Event" in page.text
    await scene.change("registrations", registration, rsvp="going")
    await scene.seat(registration, f"https://zoom.us/w/{NUMBER}?tk=x")
    ticket = await scene.ticket("ann")
    await scene.change("events", scene.event, cancelled_at=scene.house.clock.now() - timedelta(minutes=1))
    assert (await scene.get(ticket)).json()["detail"] == "Dieses Event wurde abgesagt."
