"""Who may enter: one order of refusals, and no way round it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.errors import PROBLEMS
from app.events.models import GRACE
from app.joining.decide import (
    MOST_CLICKS,
    Pass,
    Refusal,
    StartPass,
    can_wait,
    decide,
    decide_start,
    decide_ticket,
    not_your_link,
    rsvp_helps,
)
from app.joining.join_context import EventSeen, RegistrationSeen, Situation, TicketSeen, ZoomSeen

START = datetime(2027, 1, 10, 15, 0, tzinfo=UTC)
END = START + timedelta(hours=1)
OPENS = timedelta(minutes=15)
ME = "ann"
EVENT = EventSeen(UUID(int=1), "c1", "riverside", START, END, "Europe/Berlin", on_zoom=True)
GOING = RegistrationSeen(UUID(int=2), "going", "my-link", email="ann@example.org", email_verified=True)
SEAT = ZoomSeen(
    account_id=UUID(int=3),
    account_status="connected",
    host_id=UUID(int=4),
    host_member_id="rosa",
    meeting_id=UUID(int=5),
    meeting_state="scheduled",
    zoom_meeting_id=81234567890,
    meeting_link=b"meeting",
    registrant_id=UUID(int=6),
    registrant_state="ready",
    registrant_link=b"mine",
)
WELCOME = Situation(ME, 1, EVENT, GOING, SEAT)
HOST = replace(WELCOME, zoom=replace(SEAT, host_member_id=ME))

LATE = START + timedelta(days=7)
# In the order of the refusals: what is wrong, and how a situation gets so; what an earlier one took away stays away.
WRONG: dict[str, dict[str, Any]] = {
    "too-many-clicks": {"clicks": MOST_CLICKS},
    "event-not-found": {"event": None, "registration": None, "zoom": None},
    "not-registered": {"registration": {"rsvp": "not_going"}},
    "waiting-list": {"registration": {"waiting": True}},
    "no-show": {"registration": {"no_show": True}},
    "event-cancelled": {"event": {"cancelled": True}},
    "meeting-unavailable": {"zoom": {"account_status": "disconnected"}},
    "event-ended": {"event": {"ended_at": START}},
    "too-early": {"event": {"starts_at": LATE, "ends_at": LATE + timedelta(hours=1)}},
    "not-on-zoom": {"event": {"on_zoom": False}},
    "use-start": {"zoom": {"host_member_id": ME}},
    "not-ready": {"zoom": {"registrant_state": "pending", "registrant_link": None}},
}
ORDER = tuple(WRONG)


def spoiled(seen: Situation, slug: str) -> Situation:
    """The same situation with one more thing wrong."""
    for part, change in WRONG[slug].items():
        before: Any = getattr(seen, part)
        seen = replace(seen, **{part: (before and replace(before, **change)) if isinstance(change, dict) else change})
    return seen


def refused(seen: Situation, now: datetime = START) -> Refusal:
    verdict = decide(seen, now, OPENS)
    assert isinstance(verdict, Refusal)
    return verdict


situations = st.builds(
    Situation,
    st.just(ME),
    st.integers(0, 2 * MOST_CLICKS),
    st.none()
    | st.builds(
        EventSeen,
        st.just(UUID(int=1)),
        st.just("c1"),
        st.just("riverside"),
        st.just(START),
        st.just(END),
        st.just("Europe/Berlin"),
        st.booleans(),
        st.booleans(),
        st.none() | st.just(START),
        st.none() | st.just(START),
    ),
    st.none()
    | st.builds(
        RegistrationSeen,
        st.just(UUID(int=2)),
        st.sampled_from(["going", "maybe", "not_going"]),
        st.just("my-link"),
        st.booleans(),
        st.booleans(),
        st.just("ann@example.org"),
        st.booleans(),
    ),
    st.none()
    | st.builds(
        ZoomSeen,
        st.just(UUID(int=3)),
        st.sampled_from(["connected", "needs_reauth", "disconnected"]),
        st.just(UUID(int=4)),
        st.sampled_from([None, ME, "rosa"]),
        st.booleans(),
        st.just(UUID(int=5)),
        st.sampled_from(["pending", "scheduled", "failed", "deleted_at_zoom", "unavailable"]),
        st.none() | st.just(81234567890),
        st.none() | st.just(b"meeting"),
        st.just(UUID(int=6)),
        st.sampled_from([None, "pending", "ready", "cancelled", "unsupported", "host", "failed"]),
        st.none() | st.just(b"mine"),
        is_host=st.booleans(),
        protected=st.booleans(),
    ),
)
moments = st.integers(-2880, 2880).map(lambda minutes: START + timedelta(minutes=minutes))


def test_a_registered_member_passes_with_their_own_link() -> None:
    assert decide(WELCOME, START, OPENS) == Pass(b"mine", f"registrants.join_url:{UUID(int=6)}")


@pytest.mark.parametrize("slug", ORDER)
def test_each_thing_wrong_has_its_refusal(slug: str) -> None:
    assert refused(spoiled(WELCOME, slug)).slug == slug


@given(st.sets(st.sampled_from(ORDER), min_size=1))
def test_of_everything_wrong_the_first_in_order_is_said(wrong: set[str]) -> None:
    # An event that does not run on Zoom misses no meeting there.
    assume(not {"meeting-unavailable", "not-on-zoom"} <= wrong)
    # A host needs no answer, and waits for no place.
    assume("use-start" not in wrong or not {"not-registered", "waiting-list"} & wrong)
    seen = WELCOME
    for slug in sorted(wrong, key=ORDER.index, reverse=True):
        seen = spoiled(seen, slug)
    assert refused(seen).slug == min(wrong, key=ORDER.index)


def test_the_order_is_the_designs() -> None:
    slugs = [slug for slug in PROBLEMS if slug in ORDER]
    assert slugs == list(ORDER)


@given(situations, moments)
def test_there_is_always_an_answer_and_never_two(seen: Situation, now: datetime) -> None:
    verdict = decide(seen, now, OPENS)
    assert isinstance(verdict, Pass) or verdict.slug in ORDER
    if isinstance(verdict, Refusal):
        assert verdict.detail.endswith(".")
        assert "\n" not in verdict.detail


@given(situations, moments)
def test_while_live_nobody_is_too_early_or_too_late(seen: Situation, now: datetime) -> None:
    live = replace(seen, event=seen.event and replace(seen.event, live_at=START))
    verdict = decide(live, now, OPENS)
    assert isinstance(verdict, Pass) or verdict.slug not in {"too-early", "event-ended"}


@given(situations, moments)
def test_a_cancelled_event_lets_nobody_in(seen: Situation, now: datetime) -> None:
    cancelled = replace(seen, event=seen.event and replace(seen.event, cancelled=True))
    for verdict in (decide(cancelled, now, OPENS), decide_start(cancelled, now)):
        assert isinstance(verdict, Refusal)
        assert verdict.slug in {*ORDER[: ORDER.index("event-cancelled") + 1], "forbidden"}


@given(situations, moments)
def test_nobody_passes_without_an_answer_or_with_somebody_elses_link(seen: Situation, now: datetime) -> None:
    verdict = decide(seen, now, OPENS)
    if isinstance(verdict, Pass):
        assert seen.zoom
        if not seen.is_alternative:
            answer = seen.registration
            assert answer
            assert (answer.rsvp, answer.waiting, answer.no_show) == ("going", False, False)
            assert answer.email_verified or not seen.zoom.protected
        assert seen.zoom.account_status != "disconnected"
        assert verdict.link in {seen.zoom.registrant_link, seen.zoom.meeting_link}
        general = verdict.bound_to.startswith("meetings.")
        assert not general or seen.is_alternative or not seen.zoom.protected


@given(situations, moments)
def test_only_the_host_starts(seen: Situation, now: datetime) -> None:
    verdict = decide_start(seen, now)
    if isinstance(verdict, StartPass):
        assert seen.zoom
        assert seen.is_host


@given(situations)
def test_who_clicks_too_often_learns_nothing_else(seen: Situation) -> None:
    assert refused(replace(seen, clicks=MOST_CLICKS)).slug == "too-many-clicks"
    assert decide(replace(seen, clicks=MOST_CLICKS - 1), START, OPENS) == decide(replace(seen, clicks=0), START, OPENS)


def test_the_door_opens_and_shuts_on_time() -> None:
    early = refused(WELCOME, START - OPENS - timedelta(microseconds=1))
    assert (early.slug, early.opens_at) == ("too-early", START - OPENS)
    assert early.detail == "The door opens on Sunday, 10 January 2027 at 15:45 (Europe/Berlin)."
    assert isinstance(decide(WELCOME, START - OPENS, OPENS), Pass)
    assert isinstance(decide(WELCOME, END + GRACE - timedelta(microseconds=1), OPENS), Pass)
    assert refused(WELCOME, END + GRACE).slug == "event-ended"


def test_an_event_that_ended_before_its_time_says_that_it_may_open_again() -> None:
    ended = replace(WELCOME, event=replace(EVENT, ended_at=START + timedelta(minutes=20)))
    early, late = refused(ended, START + timedelta(minutes=30)), refused(ended, END + GRACE)
    assert early.slug == late.slug == "event-ended"
    assert "starts it again" in early.detail
    assert late.detail == "This event has ended."


@pytest.mark.parametrize("rsvp", ["maybe", "not_going"])
def test_anything_but_going_is_not_registered_and_says_what_to_do(rsvp: str) -> None:
    refusal = refused(replace(WELCOME, registration=replace(GOING, rsvp=rsvp)))
    assert refusal.slug == "not-registered"
    assert "RSVP" in refusal.detail


def test_who_did_not_register_is_not_asked_to_once_it_is_over() -> None:
    over = replace(WELCOME, registration=None, event=replace(EVENT, cancelled=True))
    refusal = refused(over)
    assert (refusal.slug, "RSVP" in refusal.detail) == ("not-registered", False)
    assert not rsvp_helps(over, refusal, START)
    open_still = replace(WELCOME, registration=None)
    assert rsvp_helps(open_still, refused(open_still), START)
    assert not rsvp_helps(WELCOME, Pass(b"", ""), START)


@pytest.mark.parametrize("state", ["deleted_at_zoom", "unavailable"])
def test_a_meeting_that_is_gone_is_unavailable(state: str) -> None:
    refusal = refused(replace(WELCOME, zoom=replace(SEAT, meeting_state=state)))
    assert refusal.slug == "meeting-unavailable"
    assert refusal.detail.startswith("Meeting unavailable")


def test_an_event_off_zoom_does_not_miss_its_meeting() -> None:
    native = replace(WELCOME, event=replace(EVENT, on_zoom=False), zoom=replace(SEAT, account_status="disconnected"))
    assert refused(native).slug == "not-on-zoom"


def test_links_stored_before_still_open_while_the_account_has_to_be_connected_again() -> None:
    waiting = replace(SEAT, account_status="needs_reauth")
    assert isinstance(decide(replace(WELCOME, zoom=waiting), START, OPENS), Pass)
    nobody = replace(WELCOME, zoom=replace(waiting, registrant_state="pending", registrant_link=None))
    refusal = refused(nobody)
    assert refusal.slug == "not-ready"
    assert not can_wait(nobody, refusal)


def test_a_place_being_prepared_is_worth_a_moment() -> None:
    pending = replace(WELCOME, zoom=replace(SEAT, registrant_state="pending", registrant_link=None))
    refusal = refused(pending)
    assert (refusal.slug, refusal.own_link) == ("not-ready", "my-link")
    assert refusal.retry_after
    assert can_wait(pending, refusal)
    assert not can_wait(WELCOME, Pass(b"", ""))


def test_a_place_that_zoom_refuses_is_told_with_its_reason_and_not_waited_for() -> None:
    full = replace(SEAT, registrant_state="failed", registrant_reason="The meeting is full.", registrant_link=None)
    seen = replace(WELCOME, zoom=full)
    refusal = refused(seen)
    assert refusal.slug == "not-ready"
    assert "The meeting is full." in refusal.detail
    assert not can_wait(seen, refusal)


def test_the_host_is_no_guest_of_their_own_event() -> None:
    hosting = replace(WELCOME, registration=None, zoom=replace(SEAT, host_member_id=ME))
    refusal = refused(hosting)
    assert (refusal.slug, rsvp_helps(hosting, refusal, START)) == ("use-start", False)


def test_a_guest_of_an_unlicensed_host_passes_with_the_meetings_link() -> None:
    seen = replace(WELCOME, zoom=replace(SEAT, registrant_state="unsupported", registrant_link=None, protected=False))
    assert decide(seen, START, OPENS) == Pass(b"meeting", f"meetings.join_url:{UUID(int=5)}")


def test_who_zoom_knows_as_the_host_starts_and_an_alternative_host_joins() -> None:
    as_host = replace(SEAT, registrant_state="host", registrant_link=None)
    assert refused(replace(WELCOME, zoom=as_host)).slug == "use-start"
    alternative = replace(WELCOME, zoom=replace(as_host, is_alternative=True))
    assert decide(alternative, START, OPENS) == Pass(b"meeting", f"meetings.join_url:{UUID(int=5)}")


def test_the_host_may_rehearse_and_may_restart_until_it_is_over_for_good() -> None:
    days_before, restarted = START - timedelta(days=9), START + timedelta(minutes=30)
    for moment, ended_at in ((days_before, None), (START, None), (restarted, START + timedelta(minutes=20))):
        seen = replace(HOST, event=replace(EVENT, ended_at=ended_at))
        assert decide_start(seen, moment) == StartPass(UUID(int=3), 81234567890)
    over = decide_start(HOST, END + GRACE)
    assert isinstance(over, Refusal)
    assert over.slug == "event-ended"


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"zoom": SEAT}, "forbidden"),
        ({"zoom": None}, "forbidden"),
        ({"event": None, "zoom": None}, "event-not-found"),
        ({"clicks": MOST_CLICKS}, "too-many-clicks"),
        ({"event": replace(EVENT, on_zoom=False)}, "not-on-zoom"),
        ({"zoom": replace(SEAT, host_member_id=ME, account_status="disconnected")}, "meeting-unavailable"),
        ({"zoom": replace(SEAT, host_member_id=ME, account_status="needs_reauth")}, "needs-reauth"),
        ({"zoom": replace(SEAT, host_member_id=ME, zoom_meeting_id=None)}, "not-ready"),
    ],
)
def test_a_start_is_refused_for_its_own_reasons(change: dict[str, Any], slug: str) -> None:
    verdict = decide_start(replace(HOST, **change), START)
    assert isinstance(verdict, Refusal)
    assert verdict.slug == slug


def ticket(**changes: Any) -> TicketSeen:
    expires_at = START + timedelta(minutes=1)
    return replace(TicketSeen(EVENT.id, ME, "join", expires_at, used=False, situation=WELCOME), **changes)


@pytest.mark.parametrize("member", [None, ME])
def test_a_ticket_opens_for_whoever_was_sent_with_it(member: str | None) -> None:
    assert isinstance(decide_ticket(ticket(), member, START, OPENS), Pass)
    assert isinstance(decide_ticket(ticket(purpose="start", situation=HOST), member, START, OPENS), StartPass)


@pytest.mark.parametrize(
    ("change", "member", "slug", "own_link"),
    [
        ({}, "bob", "not-your-link", None),
        ({"used": True}, ME, "ticket-used", "my-link"),
        ({"used": True}, None, "ticket-used", None),
        ({"expires_at": START}, ME, "ticket-expired", "my-link"),
        ({"purpose": "start", "used": True}, ME, "ticket-used", None),
        ({"situation": replace(WELCOME, event=replace(EVENT, cancelled=True))}, ME, "event-cancelled", None),
    ],
)
def test_a_ticket_that_opens_nothing_says_why(
    change: dict[str, Any], member: str | None, slug: str, own_link: str | None
) -> None:
    verdict = decide_ticket(ticket(**change), member, START, OPENS)
    assert isinstance(verdict, Refusal)
    assert (verdict.slug, verdict.own_link) == (slug, own_link)


def test_with_somebody_elses_link_ones_own_is_offered() -> None:
    assert not_your_link(WELCOME).own_link == "my-link"
    assert not_your_link(replace(WELCOME, registration=None)).own_link is None
