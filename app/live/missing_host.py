"""Detects that nobody has started a meeting five minutes after its start, and mails its host.

A command lets the hooks follow.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage

from app import commands
from app.accounts.models import Host
from app.core import database, logs
from app.core.job_context import Superseded
from app.core.job_runner import JobContext
from app.core.text_cleaning import single_line
from app.events import service as events
from app.events.models import Event
from app.invitations import invite_state
from app.invitations.mail_rendering import MailContent, greeting, render_html, render_text
from app.invitations.mail_sending import send_mail
from app.invitations.mime import MAIL_POLICY, header_text, mail_address
from app.invitations.texts import format_period, language_for
from app.live import presence
from app.registrations.addresses import is_valid_address
from app.resources import Resources

# Hosts are often a few minutes late; an earlier mail would annoy more than help.
GRACE_PERIOD = timedelta(minutes=5)
log = logs.get("live")


@dataclass(frozen=True, slots=True)
class MissingHostTexts:
    """Every text of one language. Braces are filled by name."""

    subject: str
    lead: str
    waiting: str
    start: str


_TEXTS = {
    "en": MissingHostTexts(
        subject="Nobody has started “{title}” yet",
        lead="“{title}” has begun, and its Zoom meeting has not been started.",
        waiting="People who wait: {waiting}.",
        start="Start it from the event page.",
    ),
    "de": MissingHostTexts(
        subject="„{title}“ hat noch niemand gestartet",
        lead="„{title}“ hat begonnen, und das Zoom-Meeting wurde noch nicht gestartet.",
        waiting="Es warten: {waiting}.",
        start="Starte es auf der Eventseite.",
    ),
}


@dataclass(frozen=True, slots=True)
class MissingHostNotice:
    """What the mail needs: the event, its host, how many people wait, and the community's slug for the link."""

    event: Event
    host: Host
    locale: str | None
    waiting: int
    slug: str


def is_missing(event: Event, now: datetime) -> bool:
    """Return whether no host has come by five minutes after the start.

    Members cannot open the meeting, so an event that is live, or was, had a host.
    """
    not_started = event.on_zoom and event.status(now) == "scheduled" and now < event.ends_at
    return not_started and now >= event.starts_at + GRACE_PERIOD


async def check(job: JobContext[Resources]) -> None:
    """Record that the host of an event (the key) has not come, once for each start; check later if it is too early."""
    async with job.read_only() as tx:
        event = await events.get(tx, job.id)
        check_at = event.starts_at + GRACE_PERIOD if event and event.on_zoom else None
    too_early = check_at is not None and job.resources.clock.now() < check_at
    async with job.complete(check_at if too_early else None) as tx:
        event = await events.lock(tx, job.id)
        if event is None or not is_missing(event, tx.now) or event.host_missed_at == event.starts_at:
            return
        event.host_missed_at = event.starts_at
        # Stored, so that a mail that is sent twice has the same text.
        event.host_missed_by = (await presence.load(tx, event)).waiting
        tx.record(commands.NotifyMissingHost(event.id, event.community_id))


async def mail_host(job: JobContext[Resources]) -> None:
    """Mail the host of an event (the key), unless a host has come meanwhile.

    A repeated mail is the same, with the same Message-ID.
    """
    async with job.read_only() as tx:
        notice = await _load_notice(tx, job)
    if notice is None:
        return

    async def still_missing() -> bool:
        async with job.read_only() as tx:
            current = await _event_with_missing_host(tx, job)
            return current is not None and (current[0].starts_at, current[1].email) == (
                notice.event.starts_at,
                notice.host.email,
            )

    try:
        email = message(notice, invite_state.mail_settings_from(job.resources.settings))
        if refusal := await send_mail(job, email, still_missing):
            log.warning("missing-host mail refused", event_id=job.key, reason=refusal)
    except Superseded:
        return


async def _event_with_missing_host(tx: database.Tx, job: JobContext[Resources]) -> tuple[Event, Host] | None:
    """Return the event and its host, if the host has not come and has a valid address."""
    event = await events.get(tx, job.id)
    if event is None or event.host_id is None or not is_missing(event, tx.now):
        return None
    host = await tx.session.get(Host, event.host_id)
    return (event, host) if host and host.email and is_valid_address(host.email) else None


async def _load_notice(tx: database.Tx, job: JobContext[Resources]) -> MissingHostNotice | None:
    if (missing := await _event_with_missing_host(tx, job)) is None:
        return None
    event, host = missing
    locale = await tx.execute(
        "SELECT locale FROM registrations WHERE member_id = :member_id ORDER BY updated_at DESC LIMIT 1",
        member_id=host.member_id,
    )
    slug: str = (await tx.execute("SELECT slug FROM communities WHERE id = :id", id=event.community_id)).scalar_one()
    return MissingHostNotice(event, host, locale.scalar(), event.host_missed_by or 0, slug)


def message(notice: MissingHostNotice, mail_settings: invite_state.MailSettings) -> EmailMessage:
    """Return the mail. Its Message-ID is derived from the event and its start."""
    event = notice.event
    event_language = language_for(notice.locale)
    texts = _TEXTS[event_language.code]
    title = single_line(event.title)
    name, address = invite_state.mail_sender(mail_settings)
    content = MailContent(
        language=event_language,
        title=title,
        greeting=greeting(single_line(notice.host.name or ""), event_language),
        lead=texts.lead.format(title=title),
        details=[(event_language.when, format_period(event.starts_at, event.ends_at, event.timezone, event_language))],
        link=None,
        sentences=[texts.waiting.format(waiting=notice.waiting), texts.start] if notice.waiting else [texts.start],
        page=f"{mail_settings.spa_url}/{notice.slug}/events/{event.id}",
        signature=name,
    )
    identity = hashlib.sha256(f"{event.id}\n{event.starts_at.timestamp():.0f}".encode()).hexdigest()[:32]
    email = EmailMessage(policy=MAIL_POLICY)
    email["From"] = mail_address(name, address)
    email["To"] = mail_address(notice.host.name or "", notice.host.email or "")
    email["Subject"] = header_text(texts.subject.format(title=title))
    email["Date"] = event.starts_at + GRACE_PERIOD
    email["Message-ID"] = f"<host-{identity}@{address.rpartition('@')[2]}>"
    email["Auto-Submitted"] = "auto-generated"  # RFC 3834: out-of-office replies stay away
    email.set_content(render_text(content))
    email.add_alternative(render_html(content), subtype="html")
    return email
