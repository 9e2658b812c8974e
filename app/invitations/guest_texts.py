"""Texts for guests, in English and German: the mail with the code, and the pages that lead guests in."""

from dataclasses import dataclass
from email.message import EmailMessage
from html import escape

from app.core.text_cleaning import single_line
from app.invitations.mime import MAIL_POLICY, header_text, mail_address
from app.invitations.texts import MailKind, language_for
from app.registrations.guest_codes import Codes
from app.registrations.models import Registration


@dataclass(frozen=True, slots=True)
class GuestTexts:
    """All texts of one language; braces are filled by name.

    `closing` ends the mails that bring or cancel an invitation. `refusals` are the refusals at Join, by slug.
    """

    closing: dict[MailKind, str]
    subject: str
    greeting: str
    code: str
    spare: str
    not_requested: str
    title: str
    request_prompt: str
    request_button: str
    code_prompt: str
    code_label: str
    code_button: str
    resend_button: str
    wrong_code: str
    expired_code: str
    too_many_codes: str
    confirmed: str
    join: str
    retry_button: str
    refusals: dict[str, str]


ENGLISH = GuestTexts(
    closing={
        "invited": "The link will ask for a code that is mailed to you here. If you cannot come after all, please tell "
        "whoever invited you: what you answer in your calendar does not reach us.",
        "changed": "If you cannot come any more, please tell whoever invited you: what you answer in your calendar "
        "does not reach us.",
        "cancelled": "It is taken out of your calendar; there is nothing you need to do.",
        "uninvited": "It is taken out of your calendar, and your link no longer opens.",
    },
    subject="Your code for “{title}”",
    greeting="Hello {name},",
    code="type this code on the page that asked for it to join “{title}”. It is good for ten minutes.",
    spare="If the page does not take it, or mails no more codes for now, type this longer code instead: {spare}",
    not_requested="If you did not ask for a code, there is nothing you need to do: without it your link opens nothing.",
    title="Your invitation",
    request_prompt="This invitation is personal: to come in, have a code mailed to the address it was sent to.",
    request_button="Mail me the code",
    code_prompt="Type the six digits that were just mailed to the address this invitation was sent to.",
    code_label="Code",
    code_button="Go on",
    resend_button="Have another code mailed",
    wrong_code="These are not the six digits we mailed: look at the latest mail.",
    expired_code="There is no code that counts in this browser any more: have a new one mailed.",
    too_many_codes="Enough codes were mailed for now: use the latest, or the longer one beside it, or ask for another "
    "in {minutes} minutes.",
    confirmed="Thank you, it is you: go on to the event.",
    join="Join",
    retry_button="Try again",
    refusals={
        "too-many-clicks": "You clicked very often: wait a minute, then try once more.",
        "event-not-found": "This event does not exist any more.",
        "not-registered": "This invitation was taken back: ask whoever invited you.",
        "waiting-list": "You are on the waiting list: you can join as soon as a place becomes free.",
        "no-show": "You were marked as not having come: ask whoever invited you.",
        "event-cancelled": "This event was cancelled.",
        "meeting-unavailable": "Meeting unavailable: ask whoever invited you.",
        "event-ended": "This event has ended.",
        "too-early": "You can join {minutes} minutes before the start: {when}.",
        "not-on-zoom": "This event does not run on Zoom: ask whoever invited you where to go.",
        "use-start": "You are the host of this event: start the meeting in Zoom.",
        "not-ready": "Your place in the meeting is being prepared: try again in a few seconds.",
        "after-midnight": "Zoom takes three registrations of one address a day: your place in the meeting is made "
        "after midnight UTC.",
        "not-prepared": "Your place in the meeting could not be prepared: ask whoever invited you.",
        "ticket-used": "This ticket was already used: join once more.",
        "ticket-expired": "This ticket has expired: join once more.",
    },
)

GERMAN = GuestTexts(
    closing={
        "invited": "Der Link fragt nach einem Code, der dir hierher geschickt wird. Wenn du doch nicht kommen kannst, "
        "sag es bitte der Person, die dich eingeladen hat: Was du im Kalender antwortest, erreicht uns nicht.",
        "changed": "Wenn du nicht mehr kommen kannst, sag es bitte der Person, die dich eingeladen hat: Was du im "
        "Kalender antwortest, erreicht uns nicht.",
        "cancelled": "Der Termin wird aus deinem Kalender entfernt; du musst nichts weiter tun.",
        "uninvited": "Der Termin wird aus deinem Kalender entfernt, und dein Link öffnet nicht mehr.",
    },
    subject="Dein Code für „{title}“",
    greeting="Hallo {name},",
    code="gib diesen Code auf der Seite ein, die danach gefragt hat, um an „{title}“ teilzunehmen. "
    "Er gilt zehn Minuten.",
    spare="Wenn die Seite ihn nicht annimmt oder vorerst keine Codes mehr schickt, gib stattdessen diesen längeren "
    "ein: {spare}",
    not_requested="Wenn du keinen Code angefordert hast, musst du nichts tun: Ohne ihn öffnet dein Link nichts.",
    title="Deine Einladung",
    request_prompt="Diese Einladung ist persönlich: Lass dir einen Code an die Adresse schicken, an die sie ging.",
    request_button="Code schicken",
    code_prompt="Gib die sechs Ziffern ein, die gerade an die Adresse dieser Einladung geschickt wurden.",
    code_label="Code",
    code_button="Weiter",
    resend_button="Einen neuen Code schicken lassen",
    wrong_code="Das sind nicht die sechs Ziffern, die wir geschickt haben: Sieh in der neuesten Mail nach.",
    expired_code="In diesem Browser gilt kein Code mehr: Lass dir einen neuen schicken.",
    too_many_codes="Es wurden vorerst genug Codes geschickt: Nimm den neuesten oder den längeren daneben, oder "
    "versuch es in {minutes} Minuten wieder.",
    confirmed="Danke, du bist es: Hier geht es zum Event.",
    join="Teilnehmen",
    retry_button="Noch einmal versuchen",
    refusals={
        "too-many-clicks": "Du hast sehr oft geklickt: Warte eine Minute und versuch es dann noch einmal.",
        "event-not-found": "Dieses Event gibt es nicht mehr.",
        "not-registered": "Diese Einladung wurde zurückgenommen: Frag die Person, die dich eingeladen hat.",
        "waiting-list": "Du stehst auf der Warteliste: Du kannst teilnehmen, sobald ein Platz frei wird.",
        "no-show": "Du wurdest als nicht erschienen vermerkt: Frag die Person, die dich eingeladen hat.",
        "event-cancelled": "Dieses Event wurde abgesagt.",
        "meeting-unavailable": "Das Meeting ist nicht verfügbar: Frag die Person, die dich eingeladen hat.",
        "event-ended": "Dieses Event ist vorbei.",
        "too-early": "Der Einlass beginnt {minutes} Minuten vor dem Start: {when}.",
        "not-on-zoom": "Dieses Event findet nicht auf Zoom statt: Frag die Person, die dich eingeladen hat, wo.",
        "use-start": "Du bist Host dieses Events: Starte das Meeting in Zoom.",
        "not-ready": "Dein Platz im Meeting wird vorbereitet: Versuch es in ein paar Sekunden noch einmal.",
        "after-midnight": "Zoom nimmt jede Adresse nur dreimal am Tag an: Dein Platz im Meeting entsteht nach "
        "Mitternacht (UTC).",
        "not-prepared": "Dein Platz im Meeting ließ sich nicht vorbereiten: Frag die Person, die dich eingeladen hat.",
        "ticket-used": "Dieser Zugang wurde schon benutzt: Nimm noch einmal teil.",
        "ticket-expired": "Dieser Zugang ist abgelaufen: Nimm noch einmal teil.",
    },
)

_TEXTS = {"en": ENGLISH, "de": GERMAN}


def guest_texts_for(locale: str) -> GuestTexts:
    """The texts for a guest's locale: German for German locales, English for all others."""
    return _TEXTS[language_for(locale).code]


def code_mail(codes: Codes, title: str, registration: Registration, sender: tuple[str, str]) -> EmailMessage:
    """The mail with a code; `sender` is (name, address).

    A mail that is sent twice is the same mail, with the same Message-ID. The code is not in the subject, which locked
    screens show.
    """
    texts = guest_texts_for(registration.locale)
    clean_title = single_line(title)
    greeting = texts.greeting.format(name=single_line(registration.name))
    sentence = texts.code.format(title=clean_title)
    not_requested = texts.not_requested
    grouped = "-".join(codes.spare[start : start + 4] for start in range(0, len(codes.spare), 4))
    spare = texts.spare.format(spare=grouped)
    mail = EmailMessage(policy=MAIL_POLICY)
    mail["From"] = mail_address(*sender)
    mail["To"] = mail_address(registration.name, registration.email)
    mail["Subject"] = header_text(texts.subject.format(title=clean_title))
    mail["Date"] = codes.requested_at
    mail["Message-ID"] = f"<code-{codes.id}-{codes.requested_at.timestamp():.0f}@{sender[1].rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: prevents out-of-office replies
    mail.set_content(f"{greeting}\n\n{sentence}\n\n    {codes.digits}\n\n{spare}\n\n{not_requested}\n\n{sender[0]}\n")
    digits = _CODE_HTML.format(code=codes.digits)
    paragraphs = (escape(greeting), escape(sentence), digits, *map(escape, (spare, not_requested, sender[0])))
    body = "\n".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    html = _MAIL_HTML.format(language=language_for(registration.locale).code, title=escape(clean_title), body=body)
    mail.add_alternative(html, subtype="html")
    return mail


_CODE_HTML = '<strong style="font:bold 28px/1.4 ui-monospace,monospace;letter-spacing:6px">{code}</strong>'
_MAIL_HTML = """\
<!DOCTYPE html>
<html lang="{language}">
<head><meta charset="utf-8"><title>{title}</title></head>
<body style="margin:0;padding:24px;background:#ffffff;color:#1f2933;font:16px/1.5 system-ui,Arial,sans-serif">
<main style="max-width:36em;margin:0 auto">
{body}
</main>
</body>
</html>
"""
