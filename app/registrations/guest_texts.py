"""What guests read, in English and German: the mail with the code, and the pages that lead them in."""

from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from html import escape
from uuid import UUID

from app.core.cleaning import line
from app.registrations.envelopes import MAIL_POLICY, header, mailbox
from app.registrations.models import Registration
from app.registrations.texts import Kind, language


@dataclass(frozen=True, slots=True)
class Speech:
    """Every word of one language. Braces are filled by name. `closing` ends the mails that bring an invite or take it
    away, `refusals` are by the slug of the door's refusal."""

    closing: dict[Kind, str]
    subject: str
    hello: str
    code: str
    spare: str
    stranger: str
    title: str
    ask: str
    ask_button: str
    type: str
    type_label: str
    type_button: str
    another: str
    wrong: str
    over: str
    often: str
    confirmed: str
    join: str
    again: str
    refusals: dict[str, str]


ENGLISH = Speech(
    closing={
        "invited": "The link will ask for a code that is mailed to you here. If you cannot come after all, please tell "
        "whoever invited you: what you answer in your calendar does not reach us.",
        "changed": "If you cannot come any more, please tell whoever invited you: what you answer in your calendar "
        "does not reach us.",
        "cancelled": "It is taken out of your calendar; there is nothing you need to do.",
        "uninvited": "It is taken out of your calendar, and your link no longer opens.",
    },
    subject="Your code for “{title}”",
    hello="Hello {name},",
    code="type this code on the page that asked for it to join “{title}”. It is good for ten minutes.",
    spare="If the page does not take it, or mails no more codes for now, type this longer code instead: {spare}",
    stranger="If you did not ask for a code, there is nothing you need to do: without it your link opens nothing.",
    title="Your invitation",
    ask="This invitation is personal: to come in, have a code mailed to the address it was sent to.",
    ask_button="Mail me the code",
    type="Type the six digits that were just mailed to the address this invitation was sent to.",
    type_label="Code",
    type_button="Go on",
    another="Have another code mailed",
    wrong="These are not the six digits we mailed: look at the latest mail.",
    over="There is no code that counts in this browser any more: have a new one mailed.",
    often="Enough codes were mailed for now: use the latest, or the longer one beside it, or ask for another in "
    "{minutes} minutes.",
    confirmed="Thank you, it is you: go on to the event.",
    join="Join",
    again="Try again",
    refusals={
        "too-many-clicks": "You clicked very often: wait a minute, then try once more.",
        "event-not-found": "This event does not exist any more.",
        "not-registered": "This invitation was taken back: ask whoever invited you.",
        "waiting-list": "You are on the waiting list: you can join as soon as a place becomes free.",
        "no-show": "You were marked as not having come: ask whoever invited you.",
        "event-cancelled": "This event was cancelled.",
        "meeting-unavailable": "Meeting unavailable: ask whoever invited you.",
        "event-ended": "This event has ended.",
        "too-early": "The door opens {minutes} minutes before the start: {when}.",
        "not-on-zoom": "This event does not run on Zoom: ask whoever invited you where to go.",
        "use-start": "You are the host of this event: start the meeting in Zoom.",
        "not-ready": "Your place in the meeting is being prepared: try again in a few seconds.",
        "after-midnight": "Zoom takes three registrations of one address a day: your place in the meeting is made "
        "after midnight UTC.",
        "not-prepared": "Your place in the meeting could not be prepared: ask whoever invited you.",
        "ticket-used": "This pass was already used: join once more.",
        "ticket-expired": "This pass has expired: join once more.",
    },
)

GERMAN = Speech(
    closing={
        "invited": "Der Link fragt nach einem Code, der dir hierher geschickt wird. Wenn du doch nicht kommen kannst, "
        "sag es bitte der Person, die dich eingeladen hat: Was du im Kalender antwortest, erreicht uns nicht.",
        "changed": "Wenn du nicht mehr kommen kannst, sag es bitte der Person, die dich eingeladen hat: Was du im "
        "Kalender antwortest, erreicht uns nicht.",
        "cancelled": "Der Termin wird aus deinem Kalender entfernt; du musst nichts weiter tun.",
        "uninvited": "Der Termin wird aus deinem Kalender entfernt, und dein Link öffnet nicht mehr.",
    },
    subject="Dein Code für „{title}“",
    hello="Hallo {name},",
    code="gib diesen Code auf der Seite ein, die danach gefragt hat, um an „{title}“ teilzunehmen. "
    "Er gilt zehn Minuten.",
    spare="Wenn die Seite ihn nicht annimmt oder vorerst keine Codes mehr schickt, gib stattdessen diesen längeren "
    "ein: {spare}",
    stranger="Wenn du keinen Code angefordert hast, musst du nichts tun: Ohne ihn öffnet dein Link nichts.",
    title="Deine Einladung",
    ask="Diese Einladung ist persönlich: Lass dir einen Code an die Adresse schicken, an die sie ging.",
    ask_button="Code schicken",
    type="Gib die sechs Ziffern ein, die gerade an die Adresse dieser Einladung geschickt wurden.",
    type_label="Code",
    type_button="Weiter",
    another="Einen neuen Code schicken lassen",
    wrong="Das sind nicht die sechs Ziffern, die wir geschickt haben: Sieh in der neuesten Mail nach.",
    over="In diesem Browser gilt kein Code mehr: Lass dir einen neuen schicken.",
    often="Es wurden vorerst genug Codes geschickt: Nimm den neuesten oder den längeren daneben, oder versuch es in "
    "{minutes} Minuten wieder.",
    confirmed="Danke, du bist es: Hier geht es zum Event.",
    join="Teilnehmen",
    again="Noch einmal versuchen",
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

_SPEECHES = {"en": ENGLISH, "de": GERMAN}


def speech(locale: str) -> Speech:
    """The words of a guest's locale, as for the invites: English for everything not German."""
    return _SPEECHES[language(locale).code]


@dataclass(frozen=True, slots=True)
class Codes:
    """What a mail brings: the six digits of a browser, and the spare code for every other; `id` and `asked_at` tell the
    mail from others."""

    id: UUID
    digits: str
    spare: str
    asked_at: datetime


def code_mail(codes: Codes, title: str, to: Registration, sender: tuple[str, str]) -> EmailMessage:
    """The mail with a code; `sender` is name and address. Sent twice it is the same mail, with the same Message-ID. The
    code is not in the subject: that is shown on locked screens."""
    words = speech(to.locale)
    shown = line(title)
    hello = words.hello.format(name=line(to.name))
    sentence, stranger = words.code.format(title=shown), words.stranger
    grouped = "-".join(codes.spare[place : place + 4] for place in range(0, len(codes.spare), 4))
    spare = words.spare.format(spare=grouped)
    mail = EmailMessage(policy=MAIL_POLICY)
    mail["From"], mail["To"] = mailbox(*sender), mailbox(to.name, to.email)
    mail["Subject"] = header(words.subject.format(title=shown))
    mail["Date"] = codes.asked_at
    mail["Message-ID"] = f"<code-{codes.id}-{codes.asked_at.timestamp():.0f}@{sender[1].rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: out-of-office replies stay away
    mail.set_content(f"{hello}\n\n{sentence}\n\n    {codes.digits}\n\n{spare}\n\n{stranger}\n\n{sender[0]}\n")
    digits, after = _CODE.format(code=codes.digits), (spare, stranger, sender[0])
    paragraphs = (escape(hello), escape(sentence), digits, *map(escape, after))
    body = "\n".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    html = _MAIL.format(language=language(to.locale).code, title=escape(shown), body=body)
    mail.add_alternative(html, subtype="html")
    return mail


_CODE = '<strong style="font:bold 28px/1.4 ui-monospace,monospace;letter-spacing:6px">{code}</strong>'
_MAIL = """\
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
