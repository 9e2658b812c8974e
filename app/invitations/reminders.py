"""Plans and sends reminders by mail, before the start, to everybody who is going.

Each event has one outbox row that waits for its next reminder time (the start minus the minutes that its community
chose). Then each person gets a row of their own, whose run reads the present state again. Somebody who got an
invitation after the reminder time already knows, and gets no reminder. That one rule covers people who answered late,
moved up from the waiting list, or must be mailed another time.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from uuid import UUID

from sqlalchemy import or_, select

from app import commands
from app.accounts.models import Host
from app.core import database, logs
from app.core.job_context import Superseded
from app.core.job_runner import JobContext
from app.events import service as events
from app.events import settings
from app.events.models import Event
from app.invitations import invite_state, preferences, reminder_texts
from app.invitations.mail_sending import send_mail
from app.invitations.mime import with_headers
from app.registrations.models import Registration, is_guest
from app.resources import Resources

log = logs.get("invitations")


@dataclass(frozen=True)
class PendingReminder:
    """A reminder to be sent.

    It says to whom, about what and for which reminder time, and has the link that ends reminders.
    """

    registration: Registration
    state: invite_state.InviteState
    moment: datetime
    slug: str
    host: str
    unsubscribe_link: str


def reminder_times(event: Event, minutes_before: Sequence[int]) -> list[datetime]:
    """The times at which people should be reminded, in order; none for a cancelled event."""
    if event.cancelled_at is not None or event.deleted_at is not None:
        return []
    return sorted(event.starts_at - timedelta(minutes=minutes) for minutes in minutes_before)


def due_reminder(event: Event, minutes_before: Sequence[int], since: datetime | None, now: datetime) -> datetime | None:
    """The last reminder time that has come, so that of several missed ones one mail is left.

    Returns None before the first, and once the event has begun. Returns None also if that time had passed when the
    community chose its reminders (`since`).
    """
    if now >= event.starts_at or event.status(now) == "ended":
        return None
    past = [moment for moment in reminder_times(event, minutes_before) if moment <= now]
    return past[-1] if past and (since is None or since <= past[-1]) else None


async def plan(job: JobContext[Resources]) -> None:
    """Request the reminders of an event (the key) that are due, and run again at the next reminder time."""
    async with job.read_only() as tx:
        event = await events.get(tx, job.id)
        minutes_before, since = await settings.reminders(tx, event.community_id) if event else ([], None)
        moment = due_reminder(event, minutes_before, since, tx.now) if event else None
        upcoming = [each for each in reminder_times(event, minutes_before) if each > tx.now] if event else []
    async with job.complete(repeat_at=min(upcoming, default=None)) as tx:
        if event is not None and moment is not None:
            for registration_id in await _ids_to_remind(tx, job.id, moment):
                tx.record(commands.SendReminder(registration_id, event.community_id))


async def _ids_to_remind(tx: database.Tx, event_id: UUID, moment: datetime) -> Sequence[UUID]:
    """Who should be reminded at a reminder time of an event.

    They are going, got their invitation before that time, and were not reminded for it yet.
    """
    found = select(Registration.id).where(
        Registration.event_id == event_id,
        Registration.rsvp == "going",
        Registration.waiting_since.is_(None),
        Registration.invite_sent_at <= moment,
        or_(Registration.reminded_for.is_distinct_from(moment), Registration.reminded_at.is_(None)),
    )
    return (await tx.session.scalars(found)).all()


async def send(job: JobContext[Resources]) -> None:
    """Remind one member (the key is a registration) for the time that has come. A refusal is final."""
    async with job.transaction() as tx:
        pending = await prepare(tx, job.id)
    if pending is None:
        return

    async def is_still_due() -> bool:
        async with job.read_only() as tx:
            found = await _current_reminder(tx, await tx.session.get(Registration, job.id))
            return found is not None and found[1] == pending.moment

    try:
        refusal = await send_mail(
            job, reminder_mail(pending, invite_state.mail_settings_from(job.resources.settings)), is_still_due
        )
    except Superseded:
        return
    if refusal:
        log.warning("reminder refused", registration_id=job.key, reason=refusal)
    async with job.complete() as tx:
        await record_result(tx, pending, refusal)


async def prepare(tx: database.Tx, registration_id: UUID) -> PendingReminder | None:
    """Store which reminder is about to be sent; returns None if none is due any more.

    A reminder with an unknown outcome is due again unchanged, and so with the same Message-ID.
    """
    registration = await tx.session.get(Registration, registration_id, with_for_update=True)
    found = await _current_reminder(tx, registration)
    if registration is None or found is None:
        return None
    event, moment = found
    registration.reminded_for = moment
    registration.reminded_at = None
    link = await preferences.mail_unsubscribe_link(tx, registration, event)
    slug: str = (await tx.execute("SELECT slug FROM communities WHERE id = :id", id=event.community_id)).scalar_one()
    host = await tx.session.get(Host, event.host_id) if event.host_id else None
    name = (host.name if host else None) or ""
    return PendingReminder(registration, invite_state.request_state(event, registration), moment, slug, name, link)


async def _current_reminder(tx: database.Tx, registration: Registration | None) -> tuple[Event, datetime] | None:
    """The event and reminder time of which a member should be reminded now; None if there is none."""
    event = await events.get(tx, registration.event_id) if registration else None
    if registration is None or event is None or not await preferences.wants_reminders_for(tx, registration, event):
        return None
    moment = due_reminder(event, *await settings.reminders(tx, event.community_id), tx.now)
    if moment is None or not _may_be_reminded(event, registration, moment, tx.now):
        return None
    return event, moment


def _may_be_reminded(event: Event, registration: Registration, moment: datetime, now: datetime) -> bool:
    """Whether the last mail that reached the member is the present invitation, sent before `moment`."""
    sent_at = registration.invite_sent_at
    invite = registration.invite
    if invite is None or invite["method"] == "CANCEL" or invite["tentative"] or sent_at is None or sent_at > moment:
        return False
    if registration.invite_error or registration.reminder_error:
        return False
    if registration.reminded_for == moment and registration.reminded_at is not None:
        return False
    # If they differ, another mail is due that says what has changed.
    return invite_state.is_equivalent(invite_state.desired_invite(event, registration, now), invite)


async def record_result(tx: database.Tx, pending: PendingReminder, refusal: str | None) -> None:
    """Store that the server accepted the reminder, or refused it (`refusal`).

    After a refusal no reminder follows until another mail has reached the address.
    """
    registration = await tx.session.get_one(Registration, pending.registration.id, with_for_update=True)
    if registration.reminded_for == pending.moment:
        registration.reminded_at = tx.now
        registration.reminder_error = refusal


def reminder_mail(pending: PendingReminder, mail_settings: invite_state.MailSettings) -> EmailMessage:
    """The reminder, the same however often it is sent.

    Its headers let a mail program end reminders with one click (RFC 8058).
    """
    registration = pending.registration
    invite = invite_state.build_invite(
        registration, pending.state, mail_settings, pending.slug, pending.moment, pending.host
    )
    url = f"{mail_settings.public_url}/unsubscribe/{pending.unsubscribe_link}"
    rendered = reminder_texts.render_reminder(
        invite, url, locale=registration.locale, guest=is_guest(registration.member_id)
    )
    identity = "\n".join((invite.uid, f"{pending.moment.timestamp():.0f}", invite.attendee_email))
    message_id = (
        f"<reminder-{hashlib.sha256(identity.encode()).hexdigest()[:32]}@{invite.organizer_email.partition('@')[2]}>"
    )
    message = with_headers(invite, rendered, invite_state.mail_sender(mail_settings)[1], message_id)
    message["List-Unsubscribe"] = f"<{url}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(rendered.text)
    message.add_alternative(rendered.html, subtype="html")
    return message
