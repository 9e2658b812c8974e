"""Who may enter (pure): one look at an event's door, and the refusal that applies first, or the pass.

The order of the rules is the order in which design section 5 lists the refusals. It is an order of telling, too: nobody
learns of an event that is not theirs, and who is not coming is told so before being told that the door is closed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from app.events.models import GRACE
from app.joining import readiness, words
from app.joining.join_context import Situation, TicketSeen
from app.registrations import texts
from app.registrations.rivals import TAKEN

MOST_CLICKS = 20  # per member and minute
IN_ZOOM_ITSELF = (
    "Zoom counts you among the hosts of this meeting: start it in Zoom itself, signed in there as {address}."
)
GONE = frozenset({"deleted_at_zoom", "unavailable"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, in one English sentence, whose braces are filled from `given`; `words` has it in other languages.

    `opens_at` says when the door opens, `retry_after` (seconds) when to try again, `own_link` is the join link to use
    instead, `way_on` how the link to it, or else to the event's page, is called."""

    slug: str
    sentence: str
    way_on: str = "See the event"
    given: Mapping[str, str] = field(default_factory=dict)
    opens_at: datetime | None = None
    retry_after: int | None = None
    own_link: str | None = None

    @property
    def detail(self) -> str:
        """The sentence in English."""
        return words.said(self.sentence, self.given, self.opens_at, texts.ENGLISH)


@dataclass(frozen=True, slots=True)
class Pass:
    """Come in: the member's Zoom link, sealed, and what it is bound to."""

    link: bytes = field(repr=False)
    bound_to: str


@dataclass(frozen=True, slots=True)
class StartPass:
    """Start: the meeting whose start URL is to be fetched at the click."""

    account_id: UUID
    zoom_meeting_id: int


TOO_MANY_CLICKS = Refusal(
    "too-many-clicks", "You clicked very often: wait a minute, then try once more.", retry_after=60
)
RECONNECT = Refusal("needs-reauth", "The Zoom account must be connected again: start the meeting in Zoom itself.")


def decide(seen: Situation, now: datetime, opens: timedelta) -> Refusal | Pass:
    """Whether the member may join at `now`; the door opens `opens` before the start."""
    refusal = _first(DOOR, seen, now, opens)
    if refusal:
        return refusal
    if found := readiness.link(seen):
        return Pass(*found)
    sentence, reason = readiness.why_not(seen)
    return Refusal(
        "not-ready",
        sentence,
        "Go to the event" if sentence == TAKEN else "Try again",
        {"reason": reason},
        retry_after=readiness.seconds(seen, now),
        own_link=seen.registration.join_link if seen.registration else None,
    )


def decide_start(seen: Situation, now: datetime) -> Refusal | StartPass | Pass:
    """Whether the member may start the meeting at `now`: its host, and its alternative hosts by the meeting's own link,
    at any time before the event is over for good."""
    refusal = _first(STAGE_DOOR, seen, now, timedelta.max)
    if refusal:
        return refusal
    zoom = seen.zoom
    if zoom is not None and seen.is_host and zoom.zoom_meeting_id is not None:
        return StartPass(zoom.account_id, zoom.zoom_meeting_id)
    if zoom is not None and seen.is_alternative and (found := readiness.meeting_link(zoom)):
        return Pass(*found)
    return Refusal("not-ready", "The Zoom meeting is still being made.", "Try again", retry_after=readiness.PREPARING)


def decide_ticket(
    ticket: TicketSeen, member_id: str | None, now: datetime, opens: timedelta
) -> Refusal | Pass | StartPass:
    """Whether a ticket still opens its door. Nobody has to be signed in (`member_id` None): it is good for whoever was
    just sent here with it; but whoever is signed in must be the one it was minted for."""
    if member_id is not None and member_id != ticket.member_id:
        return Refusal("not-your-link", "This pass belongs to somebody else: join from the event's page.")
    mine = ticket.situation.registration if member_id else None
    own_link = mine.join_link if mine and ticket.purpose == "join" else None
    if ticket.used:
        return Refusal("ticket-used", "This pass was already used: join once more.", "Join", own_link=own_link)
    if now >= ticket.expires_at:
        return Refusal("ticket-expired", "This pass has expired: join once more.", "Join", own_link=own_link)
    if ticket.purpose == "start":
        return decide_start(ticket.situation, now)
    return decide(ticket.situation, now, opens)


def not_your_link(seen: Situation) -> Refusal:
    """Somebody else's join link; the member's own is offered instead."""
    if seen.registration is None:
        return Refusal("not-your-link", "This link belongs to somebody else: RSVP to get your own.", "Go to the event")
    sentence = "This link belongs to somebody else: use your own."
    return Refusal("not-your-link", sentence, "Use my own link", own_link=seen.registration.join_link)


def rsvp_helps(seen: Situation, verdict: object, now: datetime) -> bool:
    """Whether the member only has to say "going", whatever they said before: the event still takes answers."""
    if not isinstance(verdict, Refusal) or verdict.slug != "not-registered" or seen.event is None:
        return False
    return seen.event.status(now) not in {"cancelled", "ended"}


def can_wait(seen: Situation, verdict: object) -> bool:
    """Whether it helps to wait a moment: the place is being prepared, and Zoom can be asked for it."""
    return isinstance(verdict, Refusal) and verdict.slug == "not-ready" and readiness.may_heal_now(seen)


Rule = Callable[[Situation, datetime, timedelta], Refusal | None]


def too_many_clicks(seen: Situation, _now: datetime, _opens: timedelta) -> Refusal | None:
    """As many clicks within a minute as a person makes, before this one."""
    return None if seen.clicks < MOST_CLICKS else TOO_MANY_CLICKS


def event_not_found(seen: Situation, _now: datetime, _opens: timedelta) -> Refusal | None:
    """Unknown, deleted, or of a community the member is not in: all alike."""
    return None if seen.event else Refusal("event-not-found", "There is no such event in your communities.")


def not_registered(seen: Situation, now: datetime, _opens: timedelta) -> Refusal | None:
    """Only who said "going" comes in, and who hosts."""
    if seen.is_host or seen.is_alternative:
        return None
    rsvp = seen.registration.rsvp if seen.registration else None
    denied = seen.zoom is not None and seen.zoom.registrant_state == "denied"
    if (rsvp == "going" and not denied) or seen.event is None:
        return None
    if rsvp == "going":
        return Refusal("not-registered", "Your place was taken away inside Zoom: ask the organisers to add you again.")
    if seen.event.status(now) in {"cancelled", "ended"}:
        sentence = "You are not registered for this event, and it takes no more answers."
    elif rsvp == "maybe":
        sentence = 'You answered "maybe": change your RSVP to "going" to join.'
    else:
        sentence = "You are not registered for this event: RSVP first to join."
    return Refusal("not-registered", sentence, "Go to the event")


def waiting_list(seen: Situation, _now: datetime, _opens: timedelta) -> Refusal | None:
    """Registered, but beyond the capacity."""
    if not (seen.registration and seen.registration.waiting) or seen.is_host or seen.is_alternative:
        return None
    return Refusal("waiting-list", "You are on the waiting list: you can join as soon as a place becomes free.")


def no_show(seen: Situation, _now: datetime, _opens: timedelta) -> Refusal | None:
    """Marked by the coach as not having come."""
    if not (seen.registration and seen.registration.no_show):
        return None
    return Refusal("no-show", "You were marked as not having come to this session: ask your coach.")


def event_cancelled(seen: Situation, _now: datetime, _opens: timedelta) -> Refusal | None:
    """Cancelled, even while live: the door shuts at once."""
    cancelled = seen.event is not None and seen.event.cancelled
    return Refusal("event-cancelled", "This event was cancelled.") if cancelled else None


def meeting_unavailable(seen: Situation, _now: datetime, _opens: timedelta) -> Refusal | None:
    """The account is disconnected, or somebody deleted the meeting inside Zoom. An account that only has to be
    connected again refuses nobody: the links stored before still open."""
    zoom = seen.zoom
    if zoom is None or not (seen.event and seen.event.on_zoom):
        return None
    if zoom.account_status != "disconnected" and zoom.meeting_state not in GONE:
        return None
    return Refusal("meeting-unavailable", "Meeting unavailable: it no longer exists on Zoom. Ask the organisers.")


def event_ended(seen: Situation, now: datetime, _opens: timedelta) -> Refusal | None:
    """Over. Ended before its time it may still reopen, and says so; then the host only has to start it again."""
    event = seen.event
    if event is None or event.status(now) != "ended":
        return None
    if now < event.ends_at + GRACE:
        return Refusal("event-ended", "This event has ended; if the host starts it again, the door opens again.")
    return Refusal("event-ended", "This event has ended.")


def ended_for_good(seen: Situation, now: datetime, opens: timedelta) -> Refusal | None:
    """Over, and past the time in which the host may start it again."""
    over = seen.event is not None and now >= seen.event.ends_at + GRACE
    return event_ended(seen, now, opens) if over else None


def too_early(seen: Situation, now: datetime, opens: timedelta) -> Refusal | None:
    """Before the door opens; never while live."""
    event = seen.event
    if event is None or event.status(now) == "live" or now >= event.starts_at - opens:
        return None
    opens_at = event.starts_at - opens
    given = {"timezone": event.timezone}
    return Refusal("too-early", "The door opens on {opens_at}.", given=given, opens_at=opens_at)


def not_on_zoom(seen: Situation, _now: datetime, _opens: timedelta) -> Refusal | None:
    """Held on the platform itself, or not online at all."""
    if seen.event is None or seen.event.on_zoom:
        return None
    return Refusal("not-on-zoom", "This event does not run on Zoom: join it on its page.", "Go to the event")


def use_start(seen: Situation, _now: datetime, _opens: timedelta) -> Refusal | None:
    """Zoom takes no host as a guest."""
    if seen.hosts_at_zoom_only:
        return Refusal("use-start", IN_ZOOM_ITSELF, "Go to the event", _address(seen))
    if not seen.is_host:
        return None
    return Refusal("use-start", "You are the host: start the meeting from the event's page.", "Go to the event")


def not_the_host(seen: Situation, _now: datetime, _opens: timedelta) -> Refusal | None:
    """A start URL signs whoever opens it in as the host, so it is for the host alone; alternative hosts have a way of
    their own."""
    if seen.is_host or seen.is_alternative:
        return None
    if seen.hosts_at_zoom_only:
        return Refusal("forbidden", IN_ZOOM_ITSELF, given=_address(seen))
    return Refusal("forbidden", "Only the hosts of this event may start it.")


def needs_reauth(seen: Situation, _now: datetime, _opens: timedelta) -> Refusal | None:
    """The start URL is fetched at the click, which takes a working grant."""
    if seen.zoom is None or seen.zoom.account_status != "needs_reauth" or not seen.is_host:
        return None
    return RECONNECT


DOOR: tuple[Rule, ...] = (
    too_many_clicks,
    event_not_found,
    not_registered,
    waiting_list,
    no_show,
    event_cancelled,
    meeting_unavailable,
    event_ended,
    too_early,
    not_on_zoom,
    use_start,
)

STAGE_DOOR: tuple[Rule, ...] = (
    too_many_clicks,
    event_not_found,
    not_the_host,
    event_cancelled,
    meeting_unavailable,
    ended_for_good,
    not_on_zoom,
    needs_reauth,
)


def _first(rules: Sequence[Rule], seen: Situation, now: datetime, opens: timedelta) -> Refusal | None:
    return next((refusal for rule in rules if (refusal := rule(seen, now, opens))), None)


def _address(seen: Situation) -> dict[str, str]:
    return {"address": seen.registration.email if seen.registration else ""}
