"""Who may enter: one order of refusals, and no way around it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.errors import PROBLEMS
from app.events.models import END_GRACE
from app.joining.decide import (
    MAX_CLICKS_PER_MINUTE,
    JoinAllowed,
    Refusal,
    StartAllowed,
    can_rsvp_now,
    decide,
    decide_start,
    decide_ticket,
    not_your_link,
    should_wait,
)
from app.joining.join_context import EventSnapshot, JoinContext, RegistrationSnapshot, TicketSnapshot, ZoomSnapshot

START = datetime(2027, 1, 10, 15, 0, tzinfo=UTC)
END = START + timedelta(hours=1)
OPENS_BEFORE = timedelta(minutes=15)
ME = "ann"
EVENT = EventSnapshot(UUID(int=1), "c1", "riverside", START, END, "Europe/Berlin", on_zoom=True)
GOING = RegistrationSnapshot(UUID(int=2), "going", "my-link", email="ann@example.org", email_verified=True)
ZOOM = ZoomSnapshot(
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
ALLOWED = JoinContext(ME, 1, EVENT, GOING, ZOOM)
HOST = replace(ALLOWED, zoom=replace(ZOOM, host_member_id=ME))

LATE = START + timedelta(days=7)
# In the order of the refusals: each fault, and the changes that cause it. A part that an earlier fault removed stays
# None.
FAULTS: dict[str, dict[str, Any]] = {
    "too-many-clicks": {"clicks": MAX_CLICKS_PER_MINUTE},
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
REFUSAL_ORDER = tuple(FAULTS)


def with_fault(context: JoinContext, slug: str) -> JoinContext:
    """Return the context with one more fault."""
    for part, change in FAULTS[slug].items():
        before: Any = getattr(context, part)
        context = replace(
            context, **{part: (before and replace(before, **change)) if isinstance(change, dict) else change}
        )
    return context


def refusal_of(context: JoinContext, now: datetime = START) -> Refusal:
    verdict = decide(context, now, OPENS_BEFORE)
    assert isinstance(verdict, Refusal)
    return verdict


contexts = st.builds(
    JoinContext,
    st.just(ME),
    st.integers(0, 2 * MAX_CLICKS_PER_MINUTE),
    st.none()
    | st.builds(
        EventSnapshot,
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
        RegistrationSnapshot,
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
        ZoomSnapshot,
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
    assert decide(ALLOWED, START, OPENS_BEFORE) == JoinAllowed(b"mine", f"registrants.join_url:{UUID(int=6)}")


@pytest.mark.parametrize("slug", REFUSAL_ORDER)
def test_each_thing_wrong_has_its_refusal(slug: str) -> None:
    assert refusal_of(with_fault(ALLOWED, slug)).slug == slug


@given(st.sets(st.sampled_from(REFUSAL_ORDER), min_size=1))
def test_of_everything_wrong_the_first_in_order_is_said(faults: set[str]) -> None:
    # An event that does not run on Zoom needs no meeting there.
    assume(not {"meeting-unavailable", "not-on-zoom"} <= faults)
    # A host needs no registration, and is never on the waiting list.
    assume("use-start" not in faults or not {"not-registered", "waiting-list"} & faults)
    context = ALLOWED
    for slug in sorted(faults, key=REFUSAL_ORDER.index, reverse=True):
        context = with_fault(context, slug)
    assert refusal_of(context).slug == min(faults, key=REFUSAL_ORDER.index)


def test_the_order_is_the_designs() -> None:
    slugs = [slug for slug in PROBLEMS if slug in REFUSAL_ORDER]
    assert slugs == list(REFUSAL_ORDER)


@given(contexts, moments)
def test_there_is_always_an_answer_and_never_two(context: JoinContext, now: datetime) -> None:
    verdict = decide(context, now, OPENS_BEFORE)
    assert isinstance(verdict, JoinAllowed) or verdict.slug in REFUSAL_ORDER
    if isinstance(verdict, Refusal):
        assert verdict.detail.endswith(".")
        assert "\n" not in verdict.detail


@given(contexts, moments)
def test_while_live_nobody_is_too_early_or_too_late(context: JoinContext, now: datetime) -> None:
    live = replace(context, event=context.event and replace(context.event, live_at=START))
    verdict = decide(live, now, OPENS_BEFORE)
    assert isinstance(verdict, JoinAllowed) or verdict.slug not in {"too-early", "event-ended"}


@given(contexts, moments)
def test_a_cancelled_event_lets_nobody_in(context: JoinContext, now: datetime) -> None:
    cancelled = replace(context, event=context.event and replace(context.event, cancelled=True))
    for verdict in (decide(cancelled, now, OPENS_BEFORE), decide_start(cancelled, now)):
        assert isinstance(verdict, Refusal)
        assert verdict.slug in {*REFUSAL_ORDER[: REFUSAL_ORDER.index("event-cancelled") + 1], "forbidden"}


@given(contexts, moments)
def test_nobody_passes_without_an_answer_or_with_somebody_elses_link(context: JoinContext, now: datetime) -> None:
    verdict = decide(context, now, OPENS_BEFORE)
    if isinstance(verdict, JoinAllowed):
        assert context.zoom
        if not context.is_alternative:
            answer = context.registration
            assert answer
            assert (answer.rsvp, answer.waiting, answer.no_show) == ("going", False, False)
            assert answer.email_verified or not context.zoom.protected
        assert context.zoom.account_status != "disconnected"
        assert verdict.link in {context.zoom.registrant_link, context.zoom.meeting_link}
        general = verdict.associated_data.startswith("meetings.")
        assert not general or context.is_alternative or not context.zoom.protected


@given(contexts, moments)
def test_only_the_host_starts(context: JoinContext, now: datetime) -> None:
    verdict = decide_start(context, now)
    if isinstance(verdict, StartAllowed):
        assert context.zoom
        assert context.is_host


@given(contexts)
def test_who_clicks_too_often_learns_nothing_else(context: JoinContext) -> None:
    assert refusal_of(replace(context, clicks=MAX_CLICKS_PER_MINUTE)).slug == "too-many-clicks"
    assert decide(replace(context, clicks=MAX_CLICKS_PER_MINUTE - 1), START, OPENS_BEFORE) == decide(
        replace(context, clicks=0), START, OPENS_BEFORE
    )


def test_joining_opens_and_closes_on_time() -> None:
    early = refusal_of(ALLOWED, START - OPENS_BEFORE - timedelta(microseconds=1))
    assert (early.slug, early.opens_at) == ("too-early", START - OPENS_BEFORE)
    assert early.detail == "You can join from Sunday, 10 January 2027 at 15:45 (Europe/Berlin)."
    assert isinstance(decide(ALLOWED, START - OPENS_BEFORE, OPENS_BEFORE), JoinAllowed)
    assert isinstance(decide(ALLOWED, END + END_GRACE - timedelta(microseconds=1), OPENS_BEFORE), JoinAllowed)
    assert refusal_of(ALLOWED, END + END_GRACE).slug == "event-ended"


def test_an_event_that_ended_before_its_time_says_that_it_may_open_again() -> None:
    ended = replace(ALLOWED, event=replace(EVENT, ended_at=START + timedelta(minutes=20)))
    early, late = refusal_of(ended, START + timedelta(minutes=30)), refusal_of(ended, END + END_GRACE)
    assert early.slug == late.slug == "event-ended"
    assert "starts it again" in early.detail
    assert late.detail == "This event has ended."


@pytest.mark.parametrize("rsvp", ["maybe", "not_going"])
def test_anything_but_going_is_not_registered_and_says_what_to_do(rsvp: str) -> None:
    refusal = refusal_of(replace(ALLOWED, registration=replace(GOING, rsvp=rsvp)))
    assert refusal.slug == "not-registered"
    assert "RSVP" in refusal.detail


def test_who_did_not_register_is_not_asked_to_once_it_is_over() -> None:
    over = replace(ALLOWED, registration=None, event=replace(EVENT, cancelled=True))
    refusal = refusal_of(over)
    assert (refusal.slug, "RSVP" in refusal.detail) == ("not-registered", False)
    assert not can_rsvp_now(over, refusal, START)
    open_still = replace(ALLOWED, registration=None)
    assert can_rsvp_now(open_still, refusal_of(open_still), START)
    assert not can_rsvp_now(ALLOWED, JoinAllowed(b"", ""), START)


@pytest.mark.parametrize("state", ["deleted_at_zoom", "unavailable"])
def test_a_meeting_that_is_gone_is_unavailable(state: str) -> None:
    refusal = refusal_of(replace(ALLOWED, zoom=replace(ZOOM, meeting_state=state)))
    assert refusal.slug == "meeting-unavailable"
    assert refusal.detail.startswith("Meeting unavailable")


def test_an_event_off_zoom_does_not_miss_its_meeting() -> None:
    native = replace(ALLOWED, event=replace(EVENT, on_zoom=False), zoom=replace(ZOOM, account_status="disconnected"))
    assert refusal_of(native).slug == "not-on-zoom"


def test_links_stored_before_still_open_while_the_account_has_to_be_connected_again() -> None:
    waiting = replace(ZOOM, account_status="needs_reauth")
    assert isinstance(decide(replace(ALLOWED, zoom=waiting), START, OPENS_BEFORE), JoinAllowed)
    nobody = replace(ALLOWED, zoom=replace(waiting, registrant_state="pending", registrant_link=None))
    refusal = refusal_of(nobody)
    assert refusal.slug == "not-ready"
    assert not should_wait(nobody, refusal)


def test_a_place_being_prepared_is_worth_a_moment() -> None:
    pending = replace(ALLOWED, zoom=replace(ZOOM, registrant_state="pending", registrant_link=None))
    refusal = refusal_of(pending)
    assert (refusal.slug, refusal.own_link) == ("not-ready", "my-link")
    assert refusal.retry_after
    assert should_wait(pending, refusal)
    assert not should_wait(ALLOWED, JoinAllowed(b"", ""))


def test_a_place_that_zoom_refuses_is_told_with_its_reason_and_not_waited_for() -> None:
    full = replace(ZOOM, registrant_state="failed", registrant_reason="The meeting is full.", registrant_link=None)
    context = replace(ALLOWED, zoom=full)
    refusal = refusal_of(context)
    assert refusal.slug == "not-ready"
    assert "The meeting is full." in refusal.detail
    assert not should_wait(context, refusal)


def test_the_host_is_no_guest_of_their_own_event() -> None:
    hosting = replace(ALLOWED, registration=None, zoom=replace(ZOOM, host_member_id=ME))
    refusal = refusal_of(hosting)
    assert (refusal.slug, can_rsvp_now(hosting, refusal, START)) == ("use-start", False)


def test_a_guest_of_an_unlicensed_host_passes_with_the_meetings_link() -> None:
    context = replace(
        ALLOWED, zoom=replace(ZOOM, registrant_state="unsupported", registrant_link=None, protected=False)
    )
    assert decide(context, START, OPENS_BEFORE) == JoinAllowed(b"meeting", f"meetings.join_url:{UUID(int=5)}")


def test_who_zoom_knows_as_the_host_starts_and_an_alternative_host_joins() -> None:
    as_host = replace(ZOOM, registrant_state="host", registrant_link=None)
    assert refusal_of(replace(ALLOWED, zoom=as_host)).slug == "use-start"
    alternative = replace(ALLOWED, zoom=replace(as_host, is_alternative=True))
    assert decide(alternative, START, OPENS_BEFORE) == JoinAllowed(b"meeting", f"meetings.join_url:{UUID(int=5)}")


def test_the_host_may_rehearse_and_may_restart_until_it_is_over_for_good() -> None:
    days_before, restarted = START - timedelta(days=9), START + timedelta(minutes=30)
    for moment, ended_at in ((days_before, None), (START, None), (restarted, START + timedelta(minutes=20))):
        context = replace(HOST, event=replace(EVENT, ended_at=ended_at))
        assert decide_start(context, moment) == StartAllowed(UUID(int=3), 81234567890)
    over = decide_start(HOST, END + END_GRACE)
    assert isinstance(over, Refusal)
    assert over.slug == "event-ended"


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"zoom": ZOOM}, "forbidden"),
        ({"zoom": None}, "forbidden"),
        ({"event": None, "zoom": None}, "event-not-found"),
        ({"clicks": MAX_CLICKS_PER_MINUTE}, "too-many-clicks"),
        ({"event": replace(EVENT, on_zoom=False)}, "not-on-zoom"),
        ({"zoom": replace(ZOOM, host_member_id=ME, account_status="disconnected")}, "meeting-unavailable"),
        ({"zoom": replace(ZOOM, host_member_id=ME, account_status="needs_reauth")}, "needs-reauth"),
        ({"zoom": replace(ZOOM, host_member_id=ME, zoom_meeting_id=None)}, "not-ready"),
    ],
)
def test_a_start_is_refused_for_its_own_reasons(change: dict[str, Any], slug: str) -> None:
    verdict = decide_start(replace(HOST, **change), START)
    assert isinstance(verdict, Refusal)
    assert verdict.slug == slug


def ticket_snapshot(**changes: Any) -> TicketSnapshot:
    expires_at = START + timedelta(minutes=1)
    return replace(TicketSnapshot(EVENT.id, ME, "join", expires_at, used=False, context=ALLOWED), **changes)


@pytest.mark.parametrize("member", [None, ME])
def test_a_ticket_opens_for_whoever_was_sent_with_it(member: str | None) -> None:
    assert isinstance(decide_ticket(ticket_snapshot(), member, START, OPENS_BEFORE), JoinAllowed)
    assert isinstance(
        decide_ticket(ticket_snapshot(purpose="start", context=HOST), member, START, OPENS_BEFORE), StartAllowed
    )


@pytest.mark.parametrize(
    ("change", "member", "slug", "own_link"),
    [
        ({}, "bob", "not-your-link", None),
        ({"used": True}, ME, "ticket-used", "my-link"),
        ({"used": True}, None, "ticket-used", None),
        ({"expires_at": START}, ME, "ticket-expired", "my-link"),
        ({"purpose": "start", "used": True}, ME, "ticket-used", None),
        ({"context": replace(ALLOWED, event=replace(EVENT, cancelled=True))}, ME, "event-cancelled", None),
    ],
)
def test_a_ticket_that_opens_nothing_says_why(
    change: dict[str, Any], member: str | None, slug: str, own_link: str | None
) -> None:
    verdict = decide_ticket(ticket_snapshot(**change), member, START, OPENS_BEFORE)
    assert isinstance(verdict, Refusal)
    assert (verdict.slug, verdict.own_link) == (slug, own_link)


def test_with_somebody_elses_link_ones_own_is_offered() -> None:
    assert not_your_link(ALLOWED).own_link == "my-link"
    assert not_your_link(replace(ALLOWED, registration=None)).own_link is None
