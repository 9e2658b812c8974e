"""Which invitation a member should have: a pure rule over any history of RSVPs and changes."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.events.models import Event
from app.invitations.invite_state import desired_invite, is_equivalent
from app.registrations.models import Registration

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


def event(**fields: Any) -> Event:
    defaults: dict[str, Any] = {
        "id": UUID(int=1),
        "title": "Open evening",
        "description": "",
        "starts_at": NOW + timedelta(days=1),
        "ends_at": NOW + timedelta(days=1, hours=1),
        "timezone": "UTC",
        "is_virtual": True,
        "delivery_mode": "zoom",
    }
    return Event(**(defaults | fields))


def registration(**fields: Any) -> Registration:
    defaults: dict[str, Any] = {"rsvp": "going", "email": "mia@members.example", "invite": None}
    return Registration(**(defaults | fields))


steps = st.sampled_from(["going", "maybe", "not_going", "wait", "place", "rename", "cancel", "address", "refuse"])


@given(st.lists(steps, max_size=12))
def test_after_any_history_the_calendar_shows_the_event_exactly_for_those_who_come(history: list[str]) -> None:
    event_row = event()
    registration_row = registration(rsvp="not_going")
    calendars: dict[str, str | None] = {}
    for number, step in enumerate(history):
        if step in {"going", "maybe", "not_going"}:
            registration_row.rsvp = step
        elif step in {"wait", "place"}:
            registration_row.waiting_since = NOW if step == "wait" else None
        elif step == "rename":
            event_row.title = f"Evening {number}"
        elif step == "cancel":
            event_row.cancelled_at = NOW
        elif step == "address":
            registration_row.email = f"mia{number}@members.example"
        send_due_mails(event_row, registration_row, calendars, refused=step == "refuse")
    coming = (
        registration_row.rsvp != "not_going"
        and registration_row.waiting_since is None
        and event_row.cancelled_at is None
    )
    if registration_row.invite_error is None:
        assert calendars.get(registration_row.email) == (event_row.title if coming else None)
    assert [email for email, title in calendars.items() if title and email != registration_row.email] == []


def send_due_mails(
    event_row: Event, registration_row: Registration, calendars: dict[str, str | None], *, refused: bool
) -> None:
    """Send what is due until nothing is, as the job does. Each mail brings a change."""
    for _ in range(4):
        state = desired_invite(event_row, registration_row, NOW)
        if state is None or is_equivalent(state, registration_row.invite):
            return
        if refused and state["method"] == "REQUEST" and calendars.get(state["email"]) is None:
            registration_row.invite = state
            registration_row.invite_error = "refused"
            continue
        assert state["method"] == "REQUEST" or calendars.get(state["email"]) is not None
        calendars[state["email"]] = state["title"] if state["method"] == "REQUEST" else None
        registration_row.invite = state
        registration_row.invite_error = None
    raise AssertionError("mails without end")


def test_who_never_held_an_invite_is_not_told_of_the_cancel() -> None:
    assert desired_invite(event(cancelled_at=NOW), registration(), NOW) is None
    assert desired_invite(event(), registration(rsvp="not_going"), NOW) is None


def test_the_description_alone_is_no_reason_for_a_mail() -> None:
    current = desired_invite(event(), registration(), NOW)
    assert is_equivalent(current, desired_invite(event(description="Bring tea."), registration(), NOW))
    assert not is_equivalent(current, desired_invite(event(title="Another"), registration(), NOW))


def test_once_it_is_over_nobody_is_invited_but_a_cancel_from_before_is_still_told() -> None:
    current = desired_invite(event(), registration(), NOW)
    after = NOW + timedelta(days=2)
    assert desired_invite(event(), registration(), after) is None
    cancelled = desired_invite(event(cancelled_at=NOW), registration(invite=current), after)
    assert cancelled is not None
    assert cancelled["method"] == "CANCEL"


@pytest.mark.parametrize("how", ["cancelled_at", "deleted_at"])
def test_what_is_tidied_away_after_it_took_place_is_no_cancellation(how: str) -> None:
    current = desired_invite(event(), registration(), NOW)
    after = NOW + timedelta(days=2)
    assert is_equivalent(desired_invite(event(**{how: after}), registration(invite=current), after), current)
