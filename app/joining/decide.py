"""Decides who may join, start or use a ticket (pure): the first refusal that applies, or permission.

The order of the rules is the order in which design section 5 lists the refusals. It also protects information: nobody
learns of an event of another community, and a member who is not registered is told so before anything about the time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from app.events.models import END_GRACE
from app.invitations import texts
from app.joining import link_readiness, translations
from app.joining.join_context import JoinContext, TicketSnapshot
from app.registrants.address_conflicts import ADDRESS_TAKEN

# Per member. A person who clicks again and again stays below it; a script does not.
MAX_CLICKS_PER_MINUTE = 20
START_IN_ZOOM = (
    "Zoom counts you among the hosts of this meeting: start it in Zoom itself, signed in there as {address}."
)
# Meeting states in which Zoom no longer has the meeting.
UNAVAILABLE_STATES = frozenset({"deleted_at_zoom", "unavailable"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the caller may not enter, as one English sentence.

    `params` fills the braces of the sentence; `translations` has the sentence in other languages. `opens_at` is when
    joining opens, `retry_after` (seconds) when another try is worth while, `own_link` the join link to use instead.
    `link_label` is the text of the link to `own_link`, or else to the event's page.
    """

    slug: str
    sentence: str
    link_label: str = "See the event"
    params: Mapping[str, str] = field(default_factory=dict)
    opens_at: datetime | None = None
    retry_after: int | None = None
    own_link: str | None = None

    @property
    def detail(self) -> str:
        """The sentence in English."""
        return translations.translate(self.sentence, self.params, self.opens_at, texts.ENGLISH)


@dataclass(frozen=True, slots=True)
class JoinAllowed:
    """The member may join: their encrypted Zoom link, and the associated data needed to decrypt it."""

    link: bytes = field(repr=False)
    associated_data: str


@dataclass(frozen=True, slots=True)
class StartAllowed:
    """The host may start: the meeting whose start URL is fetched when the ticket is used."""

    account_id: UUID
    zoom_meeting_id: int


TOO_MANY_CLICKS = Refusal(
    "too-many-clicks", "You clicked very often: wait a minute, then try once more.", retry_after=60
)
RECONNECT = Refusal("needs-reauth", "The Zoom account must be connected again: start the meeting in Zoom itself.")


def decide(context: JoinContext, now: datetime, opens_before: timedelta) -> Refusal | JoinAllowed:
    """Return whether the member may join at `now`. Joining opens `opens_before` before the event's start."""
    refusal = _first_refusal(JOIN_RULES, context, now, opens_before)
    if refusal:
        return refusal
    if link := link_readiness.find_link(context):
        return JoinAllowed(*link)
    sentence, reason = link_readiness.missing_link_reason(context)
    return Refusal(
        "not-ready",
        sentence,
        "Go to the event" if sentence == ADDRESS_TAKEN else "Try again",
        {"reason": reason},
        retry_after=link_readiness.retry_after(context, now),
        own_link=context.registration.join_link if context.registration else None,
    )


def decide_start(context: JoinContext, now: datetime) -> Refusal | StartAllowed | JoinAllowed:
    """Return whether the member may start the meeting at `now`.

    The host gets the start URL, an alternative host the meeting's own link, at any time before the event is finally
    over.
    """
    refusal = _first_refusal(START_RULES, context, now, timedelta.max)
    if refusal:
        return refusal
    zoom = context.zoom
    if zoom is not None and context.is_host and zoom.zoom_meeting_id is not None:
        return StartAllowed(zoom.account_id, zoom.zoom_meeting_id)
    if zoom is not None and context.is_alternative and (link := link_readiness.meeting_link(zoom)):
        return JoinAllowed(*link)
    return Refusal(
        "not-ready",
        "The Zoom meeting is still being made.",
        "Try again",
        retry_after=link_readiness.RETRY_AFTER_PREPARING,
    )


def decide_ticket(
    ticket: TicketSnapshot, member_id: str | None, now: datetime, opens_before: timedelta
) -> Refusal | JoinAllowed | StartAllowed:
    """Return whether a ticket may still be used.

    `member_id` None means that the request had no token. That is allowed: the browser was sent here a moment ago, and
    the ticket itself is the proof. A signed-in member must be the one for whom the ticket was minted.
    """
    if member_id is not None and member_id != ticket.member_id:
        return Refusal("not-your-link", "This ticket belongs to somebody else: join from the event's page.")
    registration = ticket.context.registration if member_id else None
    own_link = registration.join_link if registration and ticket.purpose == "join" else None
    if ticket.used:
        return Refusal("ticket-used", "This ticket was already used: join once more.", "Join", own_link=own_link)
    if now >= ticket.expires_at:
        return Refusal("ticket-expired", "This ticket has expired: join once more.", "Join", own_link=own_link)
    if ticket.purpose == "start":
        return decide_start(ticket.context, now)
    return decide(ticket.context, now, opens_before)


def not_your_link(context: JoinContext) -> Refusal:
    """Return the refusal of another member's join link; it offers the caller's own link if there is one."""
    if context.registration is None:
        return Refusal("not-your-link", "This link belongs to somebody else: RSVP to get your own.", "Go to the event")
    sentence = "This link belongs to somebody else: use your own."
    return Refusal("not-your-link", sentence, "Use my own link", own_link=context.registration.join_link)


def can_rsvp_now(context: JoinContext, verdict: object, now: datetime) -> bool:
    """Return whether answering "going" is all that is missing: the event still accepts answers.

    An earlier answer of "maybe" or "not going" makes no difference.
    """
    if not isinstance(verdict, Refusal) or verdict.slug != "not-registered" or context.event is None:
        return False
    return context.event.status(now) not in {"cancelled", "ended"}


def should_wait(context: JoinContext, verdict: object) -> bool:
    """Return whether waiting a moment may help: the link is being prepared, and Zoom can be asked for it."""
    return isinstance(verdict, Refusal) and verdict.slug == "not-ready" and link_readiness.is_retryable(context)


Rule = Callable[[JoinContext, datetime, timedelta], Refusal | None]


def too_many_clicks(context: JoinContext, _now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse if the member has already clicked `MAX_CLICKS_PER_MINUTE` times within the last minute."""
    return None if context.clicks < MAX_CLICKS_PER_MINUTE else TOO_MANY_CLICKS


def event_not_found(context: JoinContext, _now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse an event that is unknown, deleted, or of another community. The caller cannot tell which."""
    return None if context.event else Refusal("event-not-found", "There is no such event in your communities.")


def not_registered(context: JoinContext, now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse everybody except hosts and members who answered "going" and were not denied inside Zoom."""
    if context.is_host or context.is_alternative:
        return None
    rsvp = context.registration.rsvp if context.registration else None
    denied = context.zoom is not None and context.zoom.registrant_state == "denied"
    if (rsvp == "going" and not denied) or context.event is None:
        return None
    if rsvp == "going":
        return Refusal("not-registered", "Your place was taken away inside Zoom: ask the organisers to add you again.")
    if context.event.status(now) in {"cancelled", "ended"}:
        sentence = "You are not registered for this event, and it takes no more answers."
    elif rsvp == "maybe":
        sentence = 'You answered "maybe": change your RSVP to "going" to join.'
    else:
        sentence = "You are not registered for this event: RSVP first to join."
    return Refusal("not-registered", sentence, "Go to the event")


def waiting_list(context: JoinContext, _now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse a member whose registration is beyond the event's capacity."""
    if not (context.registration and context.registration.waiting) or context.is_host or context.is_alternative:
        return None
    return Refusal("waiting-list", "You are on the waiting list: you can join as soon as a place becomes free.")


def no_show(context: JoinContext, _now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse a member whom the coach marked as not having come."""
    if not (context.registration and context.registration.no_show):
        return None
    return Refusal("no-show", "You were marked as not having come to this session: ask your coach.")


def event_cancelled(context: JoinContext, _now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse as soon as the event is cancelled, even while it is live."""
    cancelled = context.event is not None and context.event.cancelled
    return Refusal("event-cancelled", "This event was cancelled.") if cancelled else None


def meeting_unavailable(context: JoinContext, _now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse if the account is disconnected, or if somebody deleted the meeting inside Zoom.

    An account that needs a new authorization refuses nobody: the links stored before it broke still work.
    """
    zoom = context.zoom
    if zoom is None or not (context.event and context.event.on_zoom):
        return None
    if zoom.account_status != "disconnected" and zoom.meeting_state not in UNAVAILABLE_STATES:
        return None
    return Refusal("meeting-unavailable", "Meeting unavailable: it no longer exists on Zoom. Ask the organisers.")


def event_ended(context: JoinContext, now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse after the end.

    Until `END_GRACE` after the scheduled end the host may start the meeting again, and the sentence says so.
    """
    event = context.event
    if event is None or event.status(now) != "ended":
        return None
    if now < event.ends_at + END_GRACE:
        return Refusal("event-ended", "This event has ended; if the host starts it again, you can join again.")
    return Refusal("event-ended", "This event has ended.")


def ended_for_good(context: JoinContext, now: datetime, opens_before: timedelta) -> Refusal | None:
    """Refuse the host once `END_GRACE` has passed since the scheduled end."""
    is_final = context.event is not None and now >= context.event.ends_at + END_GRACE
    return event_ended(context, now, opens_before) if is_final else None


def too_early(context: JoinContext, now: datetime, opens_before: timedelta) -> Refusal | None:
    """Refuse before joining opens, unless the event is live."""
    event = context.event
    if event is None or event.status(now) == "live" or now >= event.starts_at - opens_before:
        return None
    opens_at = event.starts_at - opens_before
    params = {"timezone": event.timezone}
    return Refusal("too-early", "You can join from {opens_at}.", params=params, opens_at=opens_at)


def not_on_zoom(context: JoinContext, _now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse an event that runs on the platform itself, or is not online at all."""
    if context.event is None or context.event.on_zoom:
        return None
    return Refusal("not-on-zoom", "This event does not run on Zoom: join it on its page.", "Go to the event")


def use_start(context: JoinContext, _now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse the host: Zoom does not let a host register for their own meeting."""
    if context.hosts_at_zoom_only:
        return Refusal("use-start", START_IN_ZOOM, "Go to the event", _address_params(context))
    if not context.is_host:
        return None
    return Refusal("use-start", "You are the host: start the meeting from the event's page.", "Go to the event")


def not_the_host(context: JoinContext, _now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse a start by anybody but the host and the alternative hosts.

    The start URL signs its user in as the host, so only the host gets it. Alternative hosts get the meeting's own link.
    """
    if context.is_host or context.is_alternative:
        return None
    if context.hosts_at_zoom_only:
        return Refusal("forbidden", START_IN_ZOOM, params=_address_params(context))
    return Refusal("forbidden", "Only the hosts of this event may start it.")


def needs_reauth(context: JoinContext, _now: datetime, _opens_before: timedelta) -> Refusal | None:
    """Refuse the host if the account needs a new authorization.

    The start URL is fetched at the click, with the account's token.
    """
    if context.zoom is None or context.zoom.account_status != "needs_reauth" or not context.is_host:
        return None
    return RECONNECT


JOIN_RULES: tuple[Rule, ...] = (
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

START_RULES: tuple[Rule, ...] = (
    too_many_clicks,
    event_not_found,
    not_the_host,
    event_cancelled,
    meeting_unavailable,
    ended_for_good,
    not_on_zoom,
    needs_reauth,
)


def _first_refusal(
    rules: Sequence[Rule], context: JoinContext, now: datetime, opens_before: timedelta
) -> Refusal | None:
    return next((refusal for rule in rules if (refusal := rule(context, now, opens_before))), None)


def _address_params(context: JoinContext) -> dict[str, str]:
    return {"address": context.registration.email if context.registration else ""}
