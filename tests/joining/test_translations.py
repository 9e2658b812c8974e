"""The sentences of joining follow the member's language, as mails do."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from app.invitations.texts import ENGLISH, GERMAN
from app.joining import decide as decide_module
from app.joining import link_readiness, translations
from app.joining.decide import Refusal, decide, decide_start
from app.joining.join_context import JoinContext
from app.registrants import address_conflicts
from tests.joining.conftest import ZOOM_MEETING_ID, JoinEnvironment
from tests.joining.test_decide import OPENS_BEFORE, contexts, moments

PAGE = {"Accept": "text/html"}


@given(contexts, moments)
def test_every_refusal_can_be_said_in_german(context: JoinContext, now: datetime) -> None:
    for verdict in (decide(context, now, OPENS_BEFORE), decide_start(context, now)):
        if isinstance(verdict, Refusal):
            german = translations.translate(verdict.sentence, verdict.params, verdict.opens_at, GERMAN)
            assert german != verdict.detail
            assert "{" not in german + verdict.detail
            assert translations.translate(verdict.link_label, {}, None, GERMAN) != verdict.link_label


@pytest.mark.parametrize(
    "sentence",
    [
        *(
            getattr(link_readiness, name)
            for name in ("UNVERIFIED", "LINK_BLOCKED", "DISCONNECTED", "FAILED", "FAILED_WITHOUT_REASON")
        ),
        *(
            link_readiness.NOT_READY_YET,
            link_readiness.AFTER_MIDNIGHT,
            link_readiness.BEING_PREPARED,
            address_conflicts.ADDRESS_TAKEN,
            decide_module.START_IN_ZOOM,
            decide_module.RECONNECT.sentence,
        ),
    ],
)
def test_each_reason_for_having_no_link_has_a_german_sentence(sentence: str) -> None:
    assert sentence in translations.GERMAN


def test_when_joining_opens_is_said_in_the_zone_of_the_event() -> None:
    opens_at = datetime(2027, 1, 10, 14, 45, tzinfo=UTC)
    params = {"timezone": "Europe/Berlin"}
    sentences = [
        translations.translate("You can join from {opens_at}.", params, opens_at, language)
        for language in (ENGLISH, GERMAN)
    ]
    assert sentences == [
        "You can join from Sunday, 10 January 2027 at 15:45 (Europe/Berlin).",
        "Der Einlass beginnt am Sonntag, 10. Januar 2027 um 15:45 Uhr (Europe/Berlin).",
    ]


async def test_a_member_is_told_in_the_language_of_the_token_else_of_the_answer(env: JoinEnvironment) -> None:
    registration = await env.register("ann", locale="de_AT", rsvp="maybe")
    path = f"/api/events/{env.event}/zoom-join"

    async def click(headers: dict[str, str], **claims: Any) -> Any:
        return await env.harness.http.post(path, headers={**env.auth_headers("ann", **claims), **headers})

    for claims, begins in ({}, "Du hast"), ({"locale": "de"}, "Du hast"), ({"locale": "en-GB"}, "You answered"):
        assert (await click({}, **claims)).json()["detail"].startswith(begins)
    page = await click(PAGE)
    assert '<html lang="de">' in page.text
    assert "Zum Event" in page.text
    await env.change("registrations", registration, rsvp="going")
    await env.add_registrant(registration, f"https://zoom.us/w/{ZOOM_MEETING_ID}?tk=x")
    ticket = await env.mint_ticket("ann")
    await env.change("events", env.event, cancelled_at=env.harness.clock.now() - timedelta(minutes=1))
    assert (await env.get(ticket)).json()["detail"] == "Dieses Event wurde abgesagt."
