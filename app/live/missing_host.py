"""A host who has not come five minutes after the start is told so, by mail; the platform's hooks hear of it, too."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage

from app import commands
from app.accounts.models import Host
from app.core import db, logs
from app.core.cleaning import line
from app.core.run import Overtaken
from app.core.work import Work
from app.events import service as events
from app.events.models import Event
from app.live import presence
from app.registrations import mailing
from app.registrations.envelopes import MAIL_POLICY, header, mailbox
from app.registrations.invites import valid_address
from app.registrations.letters import Letter, greeting, html, text
from app.registrations.posting import post
from app.registrations.texts import language, when
from app.resources import Resources

PATIENCE = timedelta(minutes=5)
log = logs.get("live")


@dataclass(frozen=True, slots=True)
class Speech:
    """Every word of one language. Braces are filled by name."""

    subject: str
    lead: str
    waiting: str
    start: str


_SPEECHES = {
    "en": Speech(
        subject="Nobody has started “{title}” yet",
        lead="“{title}” has begun, and its Zoom meeting has not been started.",
        waiting="People who wait: {waiting}.",
        start="Start it from the event page.",
    ),
    "de": Speech(
        subject="„{title}“ hat noch niemand gestartet",
        lead="„{title}“ hat begonnen, und das Zoom-Meeting wurde noch nicht gestartet.",
        waiting="Es warten: {waiting}.",
        start="Starte es auf der Eventseite.",
    ),
}


@dataclass(frozen=True, slots=True)
class Missed:
    """What the host is told: about which event, how many waited, and where the event's page is."""

    event: Event
    host: Host
    locale: str | None
    waiting: int
    slug: str


def is_missing(event: Event, now: datetime) -> bool:
    """Whether nobody who may start the event's meeting has come, five minutes after the start. Members cannot open it,
    so an event that is live, or was, had a host."""
    open_still = event.on_zoom and event.status(now) == "scheduled" and now < event.ends_at
    return open_still and now >= event.starts_at + PATIENCE


async def look(work: Work[Resources]) -> None:
    """Say that the host of an event (the key) has not come, once for each start; or look again when it is time."""
    async with work.reading() as tx:
        event = await events.get(tx, work.id)
        look_at = event.starts_at + PATIENCE if event and event.on_zoom else None
    waits = look_at is not None and work.resources.clock.now() < look_at
    async with work.done(look_at if waits else None) as tx:
        event = await events.lock(tx, work.id)
        if event is None or not is_missing(event, tx.now) or event.host_missed_at == event.starts_at:
            return
        # Kept, so that a mail that is sent twice says the same.
        event.host_missed_at, event.host_missed_by = event.starts_at, (await presence.of_event(tx, event)).waiting
        tx.record(commands.TellMissingHost(event.id, event.community_id))


async def mail(work: Work[Resources]) -> None:
    """Tell the host of an event (the key). Sent twice it is the same mail; who came meanwhile is told nothing."""
    async with work.reading() as tx:
        missed = await _missed(tx, work)
    if missed is None:
        return

    async def still_missing() -> bool:
        async with work.reading() as tx:
            now = await _expected(tx, work)
            return now is not None and (now[0].starts_at, now[1].email) == (missed.event.starts_at, missed.host.email)

    try:
        mail = message(missed, mailing.addresses(work.resources.settings))
        if refusal := await post(work, mail, still_missing):
            log.warning("a host could not be told", event_id=work.key, reason=refusal)
    except Overtaken:
        return


async def _expected(tx: db.Tx, work: Work[Resources]) -> tuple[Event, Host] | None:
    """The event, and its host who has not come and can be reached."""
    event = await events.get(tx, work.id)
    if event is None or event.host_id is None or not is_missing(event, tx.now):
        return None
    host = await tx.session.get(Host, event.host_id)
    return (event, host) if host and host.email and valid_address(host.email) else None


async def _missed(tx: db.Tx, work: Work[Resources]) -> Missed | None:
    if (expected := await _expected(tx, work)) is None:
        return None
    event, host = expected
    locale = await tx.run(
        "SELECT locale FROM registrations WHERE member_id = :member_id ORDER BY updated_at DESC LIMIT 1",
        member_id=host.member_id,
    )
    slug: str = (await tx.run("SELECT slug FROM communities WHERE id = :id", id=event.community_id)).scalar_one()
    return Missed(event, host, locale.scalar(), event.host_missed_by or 0, slug)


def message(missed: Missed, to: mailing.Addresses) -> EmailMessage:
    """The mail. Its Message-ID is the event's and the start's."""
    event, of_both = missed.event, language(missed.locale)
    ours, title = _SPEECHES[of_both.code], line(event.title)
    name, address = mailing.sender_of(to)
    letter = Letter(
        speech=of_both,
        title=title,
        hello=greeting(line(missed.host.name or ""), of_both),
        lead=ours.lead.format(title=title),
        details=[(of_both.when, when(event.starts_at, event.ends_at, event.timezone, of_both))],
        link=None,
        sentences=[ours.waiting.format(waiting=missed.waiting), ours.start] if missed.waiting else [ours.start],
        page=f"{to.spa_url}/{missed.slug}/events/{event.id}",
        signature=name,
    )
    identity = hashlib.sha256(f"{event.id}\n{event.starts_at.timestamp():.0f}".encode()).hexdigest()[:32]
    mail = EmailMessage(policy=MAIL_POLICY)
    mail["From"], mail["To"] = mailbox(name, address), mailbox(missed.host.name or "", missed.host.email or "")
    mail["Subject"] = header(ours.subject.format(title=title))
    mail["Date"] = event.starts_at + PATIENCE
    mail["Message-ID"] = f"<host-{identity}@{address.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: out-of-office replies stay away
    mail.set_content(text(letter))
    mail.add_alternative(html(letter), subtype="html")
    return mail
