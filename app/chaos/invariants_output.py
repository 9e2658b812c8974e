"""Invariants of everything the service sends: mails, hooks, streams, responses; and of its own jobs.

Pure.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from app.chaos.failing_webhook_receiver import HookArrival
from app.chaos.findings import Finding
from app.chaos.live_stream_client import LiveStreamClient
from app.chaos.member_clients import RequestOutcome
from app.chaos.observed_state import (
    Event,
    HookMessage,
    InvitationMail,
    MeetingAtZoom,
    NotificationAttempt,
    OutboxEntry,
    Registration,
)

LEASE_GRACE = 10.0  # seconds a row may stay claimed after its lease has expired; a worker takes it within that time
WRONG_REFUSALS = frozenset({400, 401, 404, 405, 408, 413, 415, 422})
NOT_AVAILABLE = 503
FAULT = 500


def last_mails_are_true(
    events: Mapping[str, Event], registrations: Iterable[Registration], mails: Sequence[InvitationMail]
) -> Finding:
    """The last mail about an RSVP matches it and the event. No mail is sent about events that are over."""
    finding = Finding("the last mail of each registration says the last answer")
    last = {mail.uid: mail for mail in mails}
    for one in registrations:
        event = events[one.event]
        mail = last.get(one.id)
        subject = f"event {one.event}, {one.who} ({one.rsvp}, {event.status})"
        if event.status == "ended":
            finding.excuse(f"{subject} is over")
        elif one.rsvp == "not_going" or event.status == "cancelled":
            is_correct = mail is None or mail.method == "CANCEL"
            finding.expect(is_correct, f"{subject}: the last mail is {mail}")
        else:
            expected = ("REQUEST", event.title, event.starts_at, one.rsvp == "maybe")
            found = (mail.method, mail.title, mail.starts_at, mail.tentative) if mail else None
            finding.expect(found == expected, f"{subject}: the last mail is {mail}, the event {event.title!r}")
    return finding


def sequences_rise(mails: Iterable[InvitationMail]) -> Finding:
    """The SEQUENCE of one UID rises in the order of the mails. A repeated mail has the same content."""
    finding = Finding("SEQUENCE rises, and what comes twice is the same")
    last = dict[str, InvitationMail]()
    for mail in mails:
        before = last.get(mail.uid)
        if before is not None:
            finding.expect(
                mail.sequence > before.sequence or mail == before, f"UID {mail.uid}: {mail} came after {before}"
            )
        if before is None or mail.sequence >= before.sequence:
            last[mail.uid] = mail
    return finding


def hooks_arrive(messages: Iterable[HookMessage], arrivals: Sequence[HookArrival]) -> Finding:
    """Every message arrives, and repetitions have the same body."""
    finding = Finding("every hook message arrives, and is always the same")
    taken = {one.message_id for one in arrivals if one.taken}
    bodies: dict[str, set[str]] = defaultdict(set)
    for one in arrivals:
        bodies[one.message_id].add(one.body)
    for message in messages:
        about = f"{message.kind} {message.id} of {message.subject}"
        finding.expect(message.id in taken, f"{about} did not arrive, and is {message.state}")
        finding.expect(message.state == "delivered", f"{about} is {message.state}")
        finding.expect(bodies.pop(message.id, {message.body}) == {message.body}, f"{about} came with another body")
    for unknown in bodies:
        finding.expect(False, f"{unknown} came, and is no message of ours")
    return finding


def hooks_arrive_in_order(
    events: Mapping[str, Event], meetings: Mapping[str, MeetingAtZoom], arrivals: Sequence[HookArrival]
) -> Finding:
    """Of an event that took place, both "live" and "ended" arrive, in this order."""
    finding = Finding("event.live is told before event.ended")
    firsts = dict[tuple[str, str], int]()
    for place, one in enumerate(arrivals):
        if one.taken:
            firsts.setdefault((one.event_id, one.kind), place)
    for event in events.values():
        meeting = meetings.get(event.meeting or "")
        if (
            meeting is None
            or event.status == "cancelled"
            or not any(h.ended >= event.starts_at for h in meeting.ended_instances)
        ):
            continue
        live, ended = firsts.get((event.id, "event.live")), firsts.get((event.id, "event.ended"))
        in_order = live is not None and ended is not None and live < ended
        finding.expect(in_order, f"event {event.id}: event.live came as {live}, event.ended as {ended}")
    return finding


def hooks_report_last_rsvps(registrations: Iterable[Registration], arrivals: Sequence[HookArrival]) -> Finding:
    """The last message about an RSVP, by the time in it, has the RSVP's value."""
    finding = Finding("the last registration.changed says the last answer")
    last = dict[str, tuple[str, str]]()
    for one in arrivals:
        message = json.loads(one.body)
        if one.taken and one.kind == "registration.changed":
            registration = message["data"]["registration_id"]
            reported = (message["timestamp"], message["data"]["rsvp"])
            last[registration] = max(reported, last.get(registration, reported))
    for registration in registrations:
        _, rsvp = last.get(registration.id, ("", None))
        about = f"event {registration.event}, {registration.who}"
        finding.expect(rsvp == registration.rsvp, f"{about}: {registration.rsvp}, and told was {rsvp}")
    return finding


def notifications_are_interpreted(attempts: Iterable[NotificationAttempt], interpreted: frozenset[str]) -> Finding:
    """Every notification that we confirmed to Zoom was interpreted."""
    finding = Finding("every accepted notification is interpreted")
    for one in {one.digest: one for one in attempts if one.outcome == "delivered"}.values():
        finding.expect(one.digest in interpreted, f"{one.event} of meeting {one.meeting}, {one.digest[:16]}")
    return finding


def streams_are_exact(
    listeners: Iterable[LiveStreamClient],
    posts: Mapping[str, Sequence[tuple[int, str]]],
    chat: Mapping[str, Sequence[tuple[str, bool]]],
) -> Finding:
    """Each live page received every chat message once and in order, and the chat is what members wrote."""
    finding = Finding("streams of both processes see everything once, in order")
    for event, messages in chat.items():
        written = Counter(text for _, text in posts.get(event, ()))
        for text, certain in messages:
            finding.expect(
                written.pop(text, 0) in ({1} if certain else {0, 1}), f"event {event}: {text!r} is not there once"
            )
        finding.expect(not written, f"event {event}: nobody wrote {list(written)}")
    for one in listeners:
        about = f"event {one.event_id} at {one.url}"
        numbers = [frame.number for frame in one.frames]
        rising = all(later > earlier for earlier, later in pairwise(numbers))
        finding.expect(rising, f"{about}: the numbers were {numbers}")
        found = [(frame.number, json.loads(frame.data)["text"]) for frame in one.frames if frame.kind == "message"]
        expected = list(posts.get(one.event_id, ()))
        finding.expect(found == expected, f"{about}: saw {found} instead of {expected}")
    return finding


def nothing_is_stuck(rows: Iterable[OutboxEntry]) -> Finding:
    """No expired lease is left on a row, and every dead job has a reason."""
    finding = Finding("no lease is stuck, and no row is dead without a reason")
    for row in rows:
        about = f"{row.job} {row.key} (row {row.id})"
        if row.dead:
            finding.expect(bool(row.reason), f"{about} is dead and says nothing")
        else:
            stuck = row.overdue is not None and row.overdue > LEASE_GRACE
            finding.expect(not stuck, f"{about} is held, and its lease out for {row.overdue or 0:.0f} s")
    return finding


def responses_are_honest(outcomes: Iterable[RequestOutcome]) -> Finding:
    """No response is a fault of ours, and unavailability comes with the time to retry.

    No valid request is refused, and every refusal has a text.
    """
    finding = Finding("no 500, no refusal of what is right, a sentence each")
    for one in outcomes:
        if one.status is None:
            continue
        about = f"{one.who}: {one.request} at {one.at:.1f} was answered {one.status} {one.slug}"
        honest = one.status < FAULT or (one.status == NOT_AVAILABLE and one.retry_after)
        right = one.status not in WRONG_REFUSALS or one.excused
        finding.expect(honest and right and (one.status < 400 or bool(one.detail)), about)
    return finding


def no_process_exited_unexpectedly(exits: Mapping[str, Sequence[int]]) -> Finding:
    """A process ends only when the run ends it."""
    finding = Finding("no process ended by itself")
    for name, statuses in exits.items():
        finding.expect(not statuses, f"{name} ended with {list(statuses)}")
    return finding


def service_recovered(seconds: float | None, limit: float, remaining: Sequence[str]) -> Finding:
    """Everything is done this soon after the last fault."""
    finding = Finding(f"healed within {limit:.0f} s of the last fault")
    finding.expect(seconds is not None, f"still to be done: {'; '.join(remaining[:10])}")
    return finding
