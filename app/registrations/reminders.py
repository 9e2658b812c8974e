"""Reminders before the start, by mail, to everybody who is going.

An event has one row that waits for its next moment (the start, less the minutes its community chose). When it has come,
a row for each person follows, and each looks at the present again: whoever got an invite after the moment was just told
and is not reminded. That one rule covers who came late, moved up from the waiting list or has to hear of another time.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from uuid import UUID

from sqlalchemy import or_, select

from app import facts
from app.accounts.models import Host
from app.core import db, logs
from app.core.run import Overtaken
from app.core.work import Work
from app.events import service as events
from app.events import settings
from app.events.models import Event
from app.registrations import mailing, preferences, reminder_texts
from app.registrations.envelopes import headed
from app.registrations.models import Registration, is_guest
from app.registrations.posting import post
from app.resources import Resources

log = logs.get("registrations")


@dataclass(frozen=True)
class Due:
    """A reminder to be sent: to whom, of what, for which moment, and the link that ends reminders."""

    registration: Registration
    state: mailing.State
    moment: datetime
    slug: str
    host: str
    unsubscribe_link: str


def moments(event: Event, minutes_before: Sequence[int]) -> list[datetime]:
    """When people are to be reminded, in order; never of what was cancelled."""
    if event.cancelled_at is not None or event.deleted_at is not None:
        return []
    return sorted(event.starts_at - timedelta(minutes=minutes) for minutes in minutes_before)


def latest(event: Event, minutes_before: Sequence[int], since: datetime | None, now: datetime) -> datetime | None:
    """The moment people are to be reminded for now: the last that has come, so that of several missed ones one mail is
    left. None before all of them, once the event has begun, and where it was over when reminders were chosen."""
    if now >= event.starts_at or event.status(now) == "ended":
        return None
    come = [moment for moment in moments(event, minutes_before) if moment <= now]
    return come[-1] if come and (since is None or since <= come[-1]) else None


async def plan(work: Work[Resources]) -> None:
    """Remind everybody going to an event (the key) if a moment has come, and wait for the next one."""
    async with work.reading() as tx:
        event = await events.get(tx, work.id)
        minutes, since = await settings.reminders(tx, event.community_id) if event else ([], None)
        moment = latest(event, minutes, since, tx.now) if event else None
        to_come = [each for each in moments(event, minutes) if each > tx.now] if event else []
    async with work.done(again_at=min(to_come, default=None)) as tx:
        if event is not None and moment is not None:
            for registration_id in await _not_reminded(tx, work.id, moment):
                tx.record(facts.ReminderDue(registration_id, event.community_id))


async def _not_reminded(tx: db.Tx, event_id: UUID, moment: datetime) -> Sequence[UUID]:
    """Who is going, knows of it since before the moment, and was not reminded for it."""
    found = select(Registration.id).where(
        Registration.event_id == event_id,
        Registration.rsvp == "going",
        Registration.waiting_since.is_(None),
        Registration.invite_sent_at <= moment,
        or_(Registration.reminded_for.is_distinct_from(moment), Registration.reminded_at.is_(None)),
    )
    return (await tx.session.scalars(found)).all()


async def send(work: Work[Resources]) -> None:
    """Remind one member (the key is a registration) for the moment that has come; refused once is refused for good."""
    async with work.transaction() as tx:
        due = await begin(tx, work.id)
    if due is None:
        return

    async def still_due() -> bool:
        async with work.reading() as tx:
            found = await _due(tx, await tx.session.get(Registration, work.id))
            return found is not None and found[1] == due.moment

    try:
        refusal = await post(work, mail(due, mailing.addresses(work.resources.settings)), still_due)
    except Overtaken:
        return
    if refusal:
        log.warning("a reminder was refused", registration_id=work.key, reason=refusal)
    async with work.done() as tx:
        await finish(tx, due, refusal)


async def begin(tx: db.Tx, registration_id: UUID) -> Due | None:
    """Write down which reminder is about to be sent; None where none is due any more.

    One whose fate is unknown is due again as it was, and so with the same Message-ID.
    """
    registration = await tx.session.get(Registration, registration_id, with_for_update=True)
    found = await _due(tx, registration)
    if registration is None or found is None:
        return None
    event, moment = found
    registration.reminded_for, registration.reminded_at = moment, None
    link = await preferences.link_in(tx, registration, event)
    slug: str = (await tx.run("SELECT slug FROM communities WHERE id = :id", id=event.community_id)).scalar_one()
    host = await tx.session.get(Host, event.host_id) if event.host_id else None
    name = (host.name if host else None) or ""
    return Due(registration, mailing.shown(event, registration), moment, slug, name, link)


async def _due(tx: db.Tx, registration: Registration | None) -> tuple[Event, datetime] | None:
    """Of what, and for which moment, a member is to be reminded now; None where they are not."""
    event = await events.get(tx, registration.event_id) if registration else None
    if registration is None or event is None or not await preferences.reminded_of(tx, registration, event):
        return None
    moment = latest(event, *await settings.reminders(tx, event.community_id), tx.now)
    if moment is None or not _may_be_reminded(event, registration, moment, tx.now):
        return None
    return event, moment


def _may_be_reminded(event: Event, registration: Registration, moment: datetime, now: datetime) -> bool:
    """Whether the last mail that reached the member is the invite as it stands, from before the moment."""
    sent_at, held = registration.invite_sent_at, registration.invite
    if held is None or held["method"] == "CANCEL" or held["tentative"] or sent_at is None or sent_at > moment:
        return False
    if registration.invite_error or registration.reminder_error:
        return False
    if registration.reminded_for == moment and registration.reminded_at is not None:
        return False
    # Otherwise a mail is on its way that says what has changed.
    return mailing.same(mailing.wanted(event, registration, now), held)


async def finish(tx: db.Tx, due: Due, refusal: str | None) -> None:
    """The reminder was taken, or with `refusal` refused: then no more follow until a mail has reached the address."""
    registration = await tx.session.get_one(Registration, due.registration.id, with_for_update=True)
    if registration.reminded_for == due.moment:
        registration.reminded_at, registration.reminder_error = tx.now, refusal


def mail(due: Due, to: mailing.Addresses) -> EmailMessage:
    """The reminder, the same however often it is sent. Its headers let a mail program end reminders by one click
    (RFC 8058)."""
    registration = due.registration
    invite = mailing.invite_of(registration, due.state, to, due.slug, due.moment, due.host)
    url = f"{to.public_url}/unsubscribe/{due.unsubscribe_link}"
    words = reminder_texts.words(invite, url, locale=registration.locale, guest=is_guest(registration.member_id))
    identity = "\n".join((invite.uid, f"{due.moment.timestamp():.0f}", invite.attendee_email))
    name = f"<reminder-{hashlib.sha256(identity.encode()).hexdigest()[:32]}@{invite.organizer_email.partition('@')[2]}>"
    message = headed(invite, words, mailing.sender_of(to)[1], name)
    message["List-Unsubscribe"] = f"<{url}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(words.text)
    message.add_alternative(words.html, subtype="html")
    return message
