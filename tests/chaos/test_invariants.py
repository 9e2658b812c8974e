"""Every invariant holds for a run without errors, and finds each thing that is wrong."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.chaos import invariants_output as output
from app.chaos import invariants_zoom as zoom
from app.chaos.community import JoinClick
from app.chaos.expected_values import ExpectedValue
from app.chaos.findings import Finding
from app.chaos.member_clients import RequestOutcome
from app.chaos.observed_state import InvitationMail, OutboxEntry
from tests.chaos import sample_run as w

Check = Callable[..., Finding]
LATER = timedelta(seconds=1)
SUCCESS = RequestOutcome(1.0, "m1", "GET /", 200)
REFUSED = RequestOutcome(1.0, "m1", "PUT /", 409, "event-closed", "It is over.")
ROW = OutboxEntry(1, "registrants.sync", "r1", None, dead=False, overdue=None)

HOLDING_CASES: dict[Check, tuple[Any, ...]] = {
    zoom.nothing_accepted_is_lost: (
        {
            ("e1", "title"): ExpectedValue("Circle"),
            ("e1", "m1"): ExpectedValue("going", ["maybe"]),
            ("e1", "m2"): ExpectedValue(None, ["going"]),
        },
        {("e1", "title"): "Circle", ("e1", "m1"): "maybe"},
    ),
    zoom.meetings_equal_events: (w.EVENTS, w.MEETINGS),
    zoom.registrants_equal_rsvps: (w.EVENTS, w.REGISTRATIONS, w.MEETINGS, [w.add_call()]),
    zoom.quotas_hold: (
        [w.add_call(), w.add_call(503), w.add_call(None, "lose_answer"), w.add_call(429, "rate_per_day"), w.add_call()],
    ),
    zoom.attendance_is_exact: (w.EVENTS, w.MEETINGS, w.ATTEMPTS, w.EMAILS),
    zoom.clicks_end_in_the_meeting: (
        [
            JoinClick("e3", "m1", certainly_going=True, status=200),
            JoinClick("e3", "m1", certainly_going=True, slug="not-ready"),
        ],
    ),
    output.last_mails_are_true: (w.EVENTS, w.REGISTRATIONS, w.MAILS),
    output.sequences_rise: (w.MAILS,),
    output.hooks_arrive: (w.MESSAGES, w.ARRIVALS),
    output.hooks_arrive_in_order: (w.EVENTS, w.MEETINGS, w.ARRIVALS),
    output.hooks_report_last_rsvps: (w.REGISTRATIONS, w.ARRIVALS),
    output.notifications_are_interpreted: (w.ATTEMPTS, w.INTERPRETED),
    output.streams_are_exact: ([w.stream_client(*w.POSTS["e3"])], w.POSTS, w.CHAT),
    output.nothing_is_stuck: (
        [ROW, replace(ROW, overdue=-5.0), replace(ROW, overdue=2.0), replace(ROW, dead=True, reason="Zoom refused")],
    ),
    output.responses_are_honest: (
        [
            SUCCESS,
            REFUSED,
            replace(SUCCESS, status=None),
            replace(REFUSED, status=503, retry_after=True),
            replace(REFUSED, status=422, excused=True),
        ],
    ),
    output.no_process_exited_unexpectedly: ({"api-1": [], "worker-1": []},),
    output.service_recovered: (12.0, 180.0, []),
}


def events(**changes: Any) -> dict[str, Any]:
    """Return the events with the planned one changed."""
    return {**w.EVENTS, "e1": replace(w.PLANNED, **changes)}


def meetings(number: str = "81", **changes: Any) -> dict[str, Any]:
    """Return the meetings with one of them changed."""
    return {**w.MEETINGS, number: replace(w.MEETINGS[number], **changes)}


def arrivals(number: int, **changes: Any) -> list[Any]:
    """Return the arrivals of hooks with one of them changed."""
    return [replace(one, **changes) if place == number else one for place, one in enumerate(w.ARRIVALS)]


LONGER_SESSION = {"m1": (replace(w.SESSION, left=w.ENDS),)}
VIOLATED_CASES: list[tuple[str, Check, tuple[Any, ...]]] = [
    (
        "another title",
        zoom.nothing_accepted_is_lost,
        ({("e1", "title"): ExpectedValue("Circle")}, {("e1", "title"): "Square"}),
    ),
    ("an answer gone", zoom.nothing_accepted_is_lost, ({("e1", "m1"): ExpectedValue("going", ["maybe"])}, {})),
    (
        "an answer back",
        zoom.nothing_accepted_is_lost,
        ({("e1", "m1"): ExpectedValue("going")}, {("e1", "m1"): "not_going"}),
    ),
    ("no meeting", zoom.meetings_equal_events, (w.EVENTS, {"83": w.MEETINGS["83"]})),
    ("another topic", zoom.meetings_equal_events, (w.EVENTS, meetings(topic="Circle, at first"))),
    ("another start", zoom.meetings_equal_events, (w.EVENTS, meetings(starts_at=w.STARTS + LATER))),
    ("another length", zoom.meetings_equal_events, (w.EVENTS, meetings(minutes=59))),
    ("an orphan", zoom.meetings_equal_events, (w.EVENTS, {**w.MEETINGS, "84": replace(w.MEETINGS["81"], number="84")})),
    (
        "a meeting of what is cancelled",
        zoom.meetings_equal_events,
        (w.EVENTS, {**w.MEETINGS, "82": replace(w.MEETINGS["81"], number="82")}),
    ),
    ("an untrue state", zoom.meetings_equal_events, (events(state="unknown"), w.MEETINGS)),
    ("a difference nobody made", zoom.meetings_equal_events, (events(differences=1), w.MEETINGS)),
    (
        "going and not approved",
        zoom.registrants_equal_rsvps,
        (w.EVENTS, w.REGISTRATIONS, meetings(approved=frozenset()), [w.add_call()]),
    ),
    (
        "approved and not going",
        zoom.registrants_equal_rsvps,
        (w.EVENTS, w.REGISTRATIONS, meetings(approved=frozenset(w.EMAILS.values())), []),
    ),
    (
        "approved and said to be not",
        zoom.registrants_equal_rsvps,
        (w.EVENTS, [replace(w.GOING, registrant="pending"), w.NOT_GOING, w.CAME], w.MEETINGS, []),
    ),
    (
        "approved and unknown",
        zoom.registrants_equal_rsvps,
        (w.EVENTS, [w.GOING, w.CAME], meetings(approved=frozenset(w.EMAILS.values())), []),
    ),
    (
        "a fourth add",
        zoom.quotas_hold,
        ([w.add_call(), w.add_call(), w.add_call(None, "lose_answer"), w.add_call(429)],),
    ),
    (
        "no attendance",
        zoom.attendance_is_exact,
        ({"e3": replace(w.ENDED_EVENT, attendance={})}, w.MEETINGS, w.ATTEMPTS, w.EMAILS),
    ),
    (
        "a second too long",
        zoom.attendance_is_exact,
        ({"e3": replace(w.ENDED_EVENT, attendance=LONGER_SESSION)}, w.MEETINGS, w.ATTEMPTS, w.EMAILS),
    ),
    (
        "somebody who was not there",
        zoom.attendance_is_exact,
        (
            {"e3": replace(w.ENDED_EVENT, attendance={**w.ENDED_EVENT.attendance, "m2": (w.SESSION,)})},
            w.MEETINGS,
            w.ATTEMPTS,
            w.EMAILS,
        ),
    ),
    ("a link of nobody", zoom.clicks_end_in_the_meeting, ([JoinClick("e3", "m1", certainly_going=True, status=403)],)),
    (
        "turned away",
        zoom.clicks_end_in_the_meeting,
        ([JoinClick("e3", "m1", certainly_going=True, slug="not-registered")],),
    ),
    ("no mail", output.last_mails_are_true, (w.EVENTS, w.REGISTRATIONS, w.MAILS[4:])),
    ("the mail before the last", output.last_mails_are_true, (w.EVENTS, w.REGISTRATIONS, [w.MAILS[0], w.MAILS[4]])),
    ("still invited", output.last_mails_are_true, (w.EVENTS, w.REGISTRATIONS, w.MAILS[:4])),
    (
        "invited to what is cancelled",
        output.last_mails_are_true,
        (events(status="cancelled"), w.REGISTRATIONS, w.MAILS),
    ),
    ("a mail overtaken", output.sequences_rise, ([w.MAILS[2], w.MAILS[0]],)),
    ("a number used again", output.sequences_rise, ([w.MAILS[0], replace(w.MAILS[0], title="Circle, otherwise")],)),
    ("a message missing", output.hooks_arrive, (w.MESSAGES, [w.ARRIVALS[0], *w.ARRIVALS[2:]])),
    ("a message that waits", output.hooks_arrive, ([replace(w.MESSAGES[0], state="waiting")], w.ARRIVALS)),
    ("another body", output.hooks_arrive, (w.MESSAGES, arrivals(1, body="{}"))),
    ("a message of nobody", output.hooks_arrive, (w.MESSAGES[:3], w.ARRIVALS)),
    ("ended before live", output.hooks_arrive_in_order, (w.EVENTS, w.MEETINGS, [w.ARRIVALS[2], w.ARRIVALS[1]])),
    ("never live", output.hooks_arrive_in_order, (w.EVENTS, w.MEETINGS, [w.ARRIVALS[0], w.ARRIVALS[2]])),
    ("never ended", output.hooks_arrive_in_order, (w.EVENTS, w.MEETINGS, w.ARRIVALS[:2])),
    ("an answer untold", output.hooks_report_last_rsvps, (w.REGISTRATIONS, w.ARRIVALS[:5])),
    (
        "the answer before the last",
        output.hooks_report_last_rsvps,
        (w.REGISTRATIONS, [*w.ARRIVALS, replace(w.ARRIVALS[5], body=w.rsvp_body("r2", "going", 2))]),
    ),
    ("not understood", output.notifications_are_interpreted, (w.ATTEMPTS, frozenset({"d1"}))),
    ("not seen", output.streams_are_exact, ([w.stream_client((3, "Hello"))], w.POSTS, w.CHAT)),
    (
        "seen twice",
        output.streams_are_exact,
        ([w.stream_client((3, "Hello"), (3, "Hello"), (5, "Bye"))], w.POSTS, w.CHAT),
    ),
    ("out of order", output.streams_are_exact, ([w.stream_client((5, "Bye"), (3, "Hello"))], w.POSTS, w.CHAT)),
    ("a message lost", output.streams_are_exact, ([], {"e3": w.POSTS["e3"][:1]}, w.CHAT)),
    ("a message twice", output.streams_are_exact, ([], {"e3": (*w.POSTS["e3"], (6, "Bye"))}, w.CHAT)),
    ("a message of nobody", output.streams_are_exact, ([], {"e3": (*w.POSTS["e3"], (6, "Boo"))}, w.CHAT)),
    ("held by nobody", output.nothing_is_stuck, ([replace(ROW, overdue=60.0)],)),
    ("dead without a reason", output.nothing_is_stuck, ([replace(ROW, dead=True)],)),
    ("a 500", output.responses_are_honest, ([replace(REFUSED, status=500, slug="internal-error")],)),
    ("a 502", output.responses_are_honest, ([replace(REFUSED, status=502)],)),
    ("a 503 that says not when", output.responses_are_honest, ([replace(REFUSED, status=503)],)),
    ("refused what is right", output.responses_are_honest, ([replace(REFUSED, status=422)],)),
    ("without a sentence", output.responses_are_honest, ([replace(REFUSED, detail="")],)),
    ("ended by itself", output.no_process_exited_unexpectedly, ({"worker-1": [1]},)),
    ("not healed", output.service_recovered, (None, 180.0, ["meetings.sync e1"])),
]


@pytest.mark.parametrize("check", HOLDING_CASES, ids=lambda check: check.__name__)
def test_it_holds_where_all_is_well(check: Check) -> None:
    finding = check(*HOLDING_CASES[check])
    assert finding.violations == []
    assert finding.checked > 0


@pytest.mark.parametrize(
    ("check", "arguments"), [case[1:] for case in VIOLATED_CASES], ids=[case[0] for case in VIOLATED_CASES]
)
def test_it_sees_what_is_wrong(check: Check, arguments: tuple[Any, ...]) -> None:
    assert check(*arguments).violations


def test_every_invariant_was_broken() -> None:
    assert {check for _, check, _ in VIOLATED_CASES} == HOLDING_CASES.keys()
    every = {value for module in (output, zoom) for value in vars(module).values() if _is_invariant(module, value)}
    assert every == HOLDING_CASES.keys()


def _is_invariant(module: Any, value: Any) -> bool:
    return callable(value) and getattr(value, "__module__", "") == module.__name__ and value.__name__[0] != "_"


def test_a_meeting_that_zoom_may_have_made_or_not_is_excused() -> None:
    unknown = {"e1": replace(w.PLANNED, state="unknown", meeting=None)}
    finding = zoom.meetings_equal_events(unknown, {})
    assert finding.violations == []
    assert len(finding.excused) == 1
    assert zoom.meetings_equal_events(unknown, w.MEETINGS).violations


def test_whose_adds_of_the_day_are_used_up_is_excused() -> None:
    waiting = replace(w.NOT_GOING, rsvp="going", registrant="pending")
    lost = [w.add_call(None, "close_before")] * 3
    finding = zoom.registrants_equal_rsvps(w.EVENTS, [w.GOING, waiting, w.CAME], w.MEETINGS, lost)
    assert finding.violations == []
    assert len(finding.excused) == 1
    assert zoom.registrants_equal_rsvps(w.EVENTS, [w.GOING, waiting, w.CAME], w.MEETINGS, lost[:2]).violations


def test_attendance_of_what_zoom_could_not_tell_is_excused() -> None:
    given_up = [replace(one, outcome="given up") if one.digest == "d2" else one for one in w.ATTEMPTS]
    finding = zoom.attendance_is_exact({"e3": replace(w.ENDED_EVENT, attendance={})}, w.MEETINGS, given_up, w.EMAILS)
    assert finding.violations == []
    assert len(finding.excused) == 1


def test_a_click_during_a_change_of_mind_is_excused() -> None:
    finding = zoom.clicks_end_in_the_meeting([JoinClick("e3", "m1", certainly_going=False, status=403)])
    assert finding.violations == []
    assert len(finding.excused) == 1


def test_a_finding_says_what_is_wrong_with_which() -> None:
    finding = output.sequences_rise(
        [w.MAILS[2], InvitationMail("r1", 0, "CANCEL", "Circle", w.STARTS, tentative=False)]
    )
    assert "1 VIOLATED" in str(finding)
    assert "UID r1" in str(finding)
