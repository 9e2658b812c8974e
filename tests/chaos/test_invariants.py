"""Every invariant holds in a world where all is well, and sees each thing that is not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.chaos import invariants_told as told
from app.chaos import invariants_zoom as zoom
from app.chaos.community import Opened
from app.chaos.findings import Finding
from app.chaos.people import Answered
from app.chaos.seen import Mail, Row
from app.chaos.wishes import Wish
from tests.chaos import world as w

Check = Callable[..., Finding]
LATER = timedelta(seconds=1)
FINE = Answered(1.0, "m1", "GET /", 200)
REFUSED = Answered(1.0, "m1", "PUT /", 409, "event-closed", "It is over.")
ROW = Row(1, "registrations.sync", "r1", None, dead=False, overdue=None)

WELL: dict[Check, tuple[Any, ...]] = {
    zoom.nothing_accepted_is_lost: (
        {("e1", "title"): Wish("Circle"), ("e1", "m1"): Wish("going", ["maybe"]), ("e1", "m2"): Wish(None, ["going"])},
        {("e1", "title"): "Circle", ("e1", "m1"): "maybe"},
    ),
    zoom.meetings_equal_events: (w.EVENTS, w.MEETINGS),
    zoom.registrants_equal_answers: (w.EVENTS, w.REGISTRATIONS, w.MEETINGS, [w.add()]),
    zoom.quotas_hold: ([w.add(), w.add(503), w.add(None, "lose_answer"), w.add(429, "rate_per_day"), w.add()],),
    zoom.attendance_is_exact: (w.EVENTS, w.MEETINGS, w.SAID, w.EMAILS),
    zoom.clicks_end_in_the_meeting: (
        [Opened("e3", "m1", certain=True, status=200), Opened("e3", "m1", certain=True, slug="not-ready")],
    ),
    told.last_mails_are_true: (w.EVENTS, w.REGISTRATIONS, w.MAILS),
    told.sequences_rise: (w.MAILS,),
    told.hooks_arrive: (w.MESSAGES, w.ARRIVALS),
    told.hooks_tell_in_order: (w.EVENTS, w.MEETINGS, w.ARRIVALS),
    told.hooks_tell_last_answers: (w.REGISTRATIONS, w.ARRIVALS),
    told.notifications_are_interpreted: (w.SAID, w.INTERPRETED),
    told.streams_are_exact: ([w.listener(*w.POSTS["e3"])], w.POSTS, w.CHAT),
    told.nothing_is_stuck: (
        [ROW, replace(ROW, overdue=-5.0), replace(ROW, overdue=2.0), replace(ROW, dead=True, reason="Zoom refused")],
    ),
    told.answers_are_honest: (
        [
            FINE,
            REFUSED,
            replace(FINE, status=None),
            replace(REFUSED, status=503, retry_after=True),
            replace(REFUSED, status=422, excused=True),
        ],
    ),
    told.nobody_ended_by_itself: ({"api-1": [], "worker-1": []},),
    told.healed: (12.0, 180.0, []),
}


def events(**changes: Any) -> dict[str, Any]:
    """The events with the planned one changed."""
    return {**w.EVENTS, "e1": replace(w.PLANNED, **changes)}


def meetings(number: str = "81", **changes: Any) -> dict[str, Any]:
    """The meetings with one of them changed."""
    return {**w.MEETINGS, number: replace(w.MEETINGS[number], **changes)}


def arrivals(number: int, **changes: Any) -> list[Any]:
    """What came by hook, with one of it changed."""
    return [replace(one, **changes) if place == number else one for place, one in enumerate(w.ARRIVALS)]


STAYED_LONGER = {"m1": (replace(w.STAYED, left=w.ENDS),)}
BROKEN: list[tuple[str, Check, tuple[Any, ...]]] = [
    ("another title", zoom.nothing_accepted_is_lost, ({("e1", "title"): Wish("Circle")}, {("e1", "title"): "Square"})),
    ("an answer gone", zoom.nothing_accepted_is_lost, ({("e1", "m1"): Wish("going", ["maybe"])}, {})),
    ("an answer back", zoom.nothing_accepted_is_lost, ({("e1", "m1"): Wish("going")}, {("e1", "m1"): "not_going"})),
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
        zoom.registrants_equal_answers,
        (w.EVENTS, w.REGISTRATIONS, meetings(approved=frozenset()), [w.add()]),
    ),
    (
        "approved and not going",
        zoom.registrants_equal_answers,
        (w.EVENTS, w.REGISTRATIONS, meetings(approved=frozenset(w.EMAILS.values())), []),
    ),
    (
        "approved and said to be not",
        zoom.registrants_equal_answers,
        (w.EVENTS, [replace(w.GOING, registrant="pending"), w.NOT_GOING, w.CAME], w.MEETINGS, []),
    ),
    (
        "approved and unknown",
        zoom.registrants_equal_answers,
        (w.EVENTS, [w.GOING, w.CAME], meetings(approved=frozenset(w.EMAILS.values())), []),
    ),
    ("a fourth add", zoom.quotas_hold, ([w.add(), w.add(), w.add(None, "lose_answer"), w.add(429)],)),
    ("no attendance", zoom.attendance_is_exact, ({"e3": replace(w.HELD, attendance={})}, w.MEETINGS, w.SAID, w.EMAILS)),
    (
        "a second too long",
        zoom.attendance_is_exact,
        ({"e3": replace(w.HELD, attendance=STAYED_LONGER)}, w.MEETINGS, w.SAID, w.EMAILS),
    ),
    (
        "somebody who was not there",
        zoom.attendance_is_exact,
        (
            {"e3": replace(w.HELD, attendance={**w.HELD.attendance, "m2": (w.STAYED,)})},
            w.MEETINGS,
            w.SAID,
            w.EMAILS,
        ),
    ),
    ("a link of nobody", zoom.clicks_end_in_the_meeting, ([Opened("e3", "m1", certain=True, status=403)],)),
    ("turned away", zoom.clicks_end_in_the_meeting, ([Opened("e3", "m1", certain=True, slug="not-registered")],)),
    ("no mail", told.last_mails_are_true, (w.EVENTS, w.REGISTRATIONS, w.MAILS[4:])),
    ("the mail before the last", told.last_mails_are_true, (w.EVENTS, w.REGISTRATIONS, [w.MAILS[0], w.MAILS[4]])),
    ("still invited", told.last_mails_are_true, (w.EVENTS, w.REGISTRATIONS, w.MAILS[:4])),
    (
        "invited to what is cancelled",
        told.last_mails_are_true,
        (events(status="cancelled"), w.REGISTRATIONS, w.MAILS),
    ),
    ("a mail overtaken", told.sequences_rise, ([w.MAILS[2], w.MAILS[0]],)),
    ("a number used again", told.sequences_rise, ([w.MAILS[0], replace(w.MAILS[0], title="Circle, otherwise")],)),
    ("a message missing", told.hooks_arrive, (w.MESSAGES, [w.ARRIVALS[0], *w.ARRIVALS[2:]])),
    ("a message that waits", told.hooks_arrive, ([replace(w.MESSAGES[0], state="waiting")], w.ARRIVALS)),
    ("another body", told.hooks_arrive, (w.MESSAGES, arrivals(1, body="{}"))),
    ("a message of nobody", told.hooks_arrive, (w.MESSAGES[:3], w.ARRIVALS)),
    ("ended before live", told.hooks_tell_in_order, (w.EVENTS, w.MEETINGS, [w.ARRIVALS[2], w.ARRIVALS[1]])),
    ("never live", told.hooks_tell_in_order, (w.EVENTS, w.MEETINGS, [w.ARRIVALS[0], w.ARRIVALS[2]])),
    ("never ended", told.hooks_tell_in_order, (w.EVENTS, w.MEETINGS, w.ARRIVALS[:2])),
    ("an answer untold", told.hooks_tell_last_answers, (w.REGISTRATIONS, w.ARRIVALS[:5])),
    (
        "the answer before the last",
        told.hooks_tell_last_answers,
        (w.REGISTRATIONS, [*w.ARRIVALS, replace(w.ARRIVALS[5], body=w.changed("r2", "going", 2))]),
    ),
    ("not understood", told.notifications_are_interpreted, (w.SAID, frozenset({"d1"}))),
    ("not seen", told.streams_are_exact, ([w.listener((3, "Hello"))], w.POSTS, w.CHAT)),
    ("seen twice", told.streams_are_exact, ([w.listener((3, "Hello"), (3, "Hello"), (5, "Bye"))], w.POSTS, w.CHAT)),
    ("out of order", told.streams_are_exact, ([w.listener((5, "Bye"), (3, "Hello"))], w.POSTS, w.CHAT)),
    ("a word lost", told.streams_are_exact, ([], {"e3": w.POSTS["e3"][:1]}, w.CHAT)),
    ("a word twice", told.streams_are_exact, ([], {"e3": (*w.POSTS["e3"], (6, "Bye"))}, w.CHAT)),
    ("a word of nobody", told.streams_are_exact, ([], {"e3": (*w.POSTS["e3"], (6, "Boo"))}, w.CHAT)),
    ("held by nobody", told.nothing_is_stuck, ([replace(ROW, overdue=60.0)],)),
    ("dead without a word", told.nothing_is_stuck, ([replace(ROW, dead=True)],)),
    ("a 500", told.answers_are_honest, ([replace(REFUSED, status=500, slug="internal-error")],)),
    ("a 502", told.answers_are_honest, ([replace(REFUSED, status=502)],)),
    ("a 503 that says not when", told.answers_are_honest, ([replace(REFUSED, status=503)],)),
    ("refused what is right", told.answers_are_honest, ([replace(REFUSED, status=422)],)),
    ("without a sentence", told.answers_are_honest, ([replace(REFUSED, said="")],)),
    ("ended by itself", told.nobody_ended_by_itself, ({"worker-1": [1]},)),
    ("not healed", told.healed, (None, 180.0, ["meetings.sync e1"])),
]


@pytest.mark.parametrize("check", WELL, ids=lambda check: check.__name__)
def test_it_holds_where_all_is_well(check: Check) -> None:
    finding = check(*WELL[check])
    assert finding.violations == []
    assert finding.checked > 0


@pytest.mark.parametrize(("check", "given"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_it_sees_what_is_wrong(check: Check, given: tuple[Any, ...]) -> None:
    assert check(*given).violations


def test_every_invariant_was_broken() -> None:
    assert {check for _, check, _ in BROKEN} == WELL.keys()
    every = {value for module in (told, zoom) for value in vars(module).values() if _is_invariant(module, value)}
    assert every == WELL.keys()


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
    lost = [w.add(None, "close_before")] * 3
    finding = zoom.registrants_equal_answers(w.EVENTS, [w.GOING, waiting, w.CAME], w.MEETINGS, lost)
    assert finding.violations == []
    assert len(finding.excused) == 1
    assert zoom.registrants_equal_answers(w.EVENTS, [w.GOING, waiting, w.CAME], w.MEETINGS, lost[:2]).violations


def test_attendance_of_what_zoom_could_not_tell_is_excused() -> None:
    given_up = [replace(one, outcome="given up") if one.digest == "d2" else one for one in w.SAID]
    finding = zoom.attendance_is_exact({"e3": replace(w.HELD, attendance={})}, w.MEETINGS, given_up, w.EMAILS)
    assert finding.violations == []
    assert len(finding.excused) == 1


def test_whoever_changed_their_mind_is_excused_at_the_door() -> None:
    finding = zoom.clicks_end_in_the_meeting([Opened("e3", "m1", certain=False, status=403)])
    assert finding.violations == []
    assert len(finding.excused) == 1


def test_a_finding_says_what_is_wrong_with_which() -> None:
    finding = told.sequences_rise([w.MAILS[2], Mail("r1", 0, "CANCEL", "Circle", w.STARTS, tentative=False)])
    assert "1 VIOLATED" in str(finding)
    assert "UID r1" in str(finding)
