"""Which invite a member should hold: a pure rule over any history of answers and changes."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.events.models import Event
from app.registrations.mailing import same, wanted
from app.registrations.models import Registration

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


def event(**said: Any) -> Event:
    known: dict[str, Any] = {
        "id": UUID(int=1),
        "title": "Open evening",
        "description": "",
        "starts_at": NOW + timedelta(days=1),
        "ends_at": NOW + timedelta(days=1, hours=1),
        "timezone": "UTC",
        "is_virtual": True,
        "delivery_mode": "zoom",
    }
    return Event(**(known | said))


def registration(**said: Any) -> Registration:
    known: dict[str, Any] = {"rsvp": "going", "email": "mia@members.example", "invite": None}
    return Registration(**(known | said))


steps = st.sampled_from(["going", "maybe", "not_going", "wait", "place", "rename", "cancel", "address", "refuse"])


@given(st.lists(steps, max_size=12))
def test_after_any_history_the_calendar_shows_the_event_exactly_for_those_who_come(history: list[str]) -> None:
    happening, answer = event(), registration(rsvp="not_going")
    calendars: dict[str, str | None] = {}
    for number, step in enumerate(history):
        if step in {"going", "maybe", "not_going"}:
            answer.rsvp = step
        elif step in {"wait", "place"}:
            answer.waiting_since = NOW if step == "wait" else None
        elif step == "rename":
            happening.title = f"Evening {number}"
        elif step == "cancel":
            happening.cancelled_at = NOW
        elif step == "address":
            answer.email = f"mia{number}@members.example"
        deliver(happening, answer, calendars, refused=step == "refuse")
    coming = answer.rsvp != "not_going" and answer.waiting_since is None and happening.cancelled_at is None
    if answer.invite_error is None:
        assert calendars.get(answer.email) == (happening.title if coming else None)
    assert [email for email, title in calendars.items() if title and email != answer.email] == []


def deliver(happening: Event, answer: Registration, calendars: dict[str, str | None], *, refused: bool) -> None:
    """Send what is due until nothing is, as the reaction does; each mail brings something new."""
    for _ in range(4):
        state = wanted(happening, answer, NOW)
        if state is None or same(state, answer.invite):
            return
        if refused and state["method"] == "REQUEST" and calendars.get(state["email"]) is None:
            answer.invite, answer.invite_error = state, "refused"
            continue
        assert state["method"] == "REQUEST" or calendars.get(state["email"]) is not None
        calendars[state["email"]] = state["title"] if state["method"] == "REQUEST" else None
        answer.invite, answer.invite_error = state, None
    raise AssertionError("mails without end")


def test_who_never_held_an_invite_is_not_told_of_the_cancel() -> None:
    assert wanted(event(cancelled_at=NOW), registration(), NOW) is None
    assert wanted(event(), registration(rsvp="not_going"), NOW) is None


def test_the_description_alone_is_no_reason_for_a_mail() -> None:
    held = wanted(event(), registration(), NOW)
    assert same(held, wanted(event(description="Bring tea."), registration(), NOW))
    assert not same(held, wanted(event(title="Another"), registration(), NOW))


def test_once_it_is_over_nobody_is_invited_but_a_cancel_from_before_is_still_told() -> None:
    held = wanted(event(), registration(), NOW)
    after = NOW + timedelta(days=2)
    assert wanted(event(), registration(), after) is None
    cancelled = wanted(event(cancelled_at=NOW), registration(invite=held), after)
    assert cancelled is not None
    assert cancelled["method"] == "CANCEL"


@pytest.mark.parametrize("how", ["cancelled_at", "deleted_at"])
def test_what_is_tidied_away_after_it_took_place_is_no_cancellation(how: str) -> None:
    held = wanted(event(), registration(), NOW)
    after = NOW + timedelta(days=2)
    assert same(wanted(event(**{how: after}), registration(invite=held), after), held)
