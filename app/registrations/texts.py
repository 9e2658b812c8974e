"""The words of the mails, in English and German, as plain text and as HTML that says the same.

The only place that holds them: a new language is one more `Language`, a new wording one changed string.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from html import escape
from typing import Literal
from zoneinfo import ZoneInfo

from app.registrations.invites import Invite, Words, line

Kind = Literal["invited", "changed", "cancelled", "uninvited"]


@dataclass(frozen=True, slots=True)
class Before:
    """How the event stood when its members last heard of it; times are aware."""

    title: str
    starts_at: datetime
    ends_at: datetime
    timezone: str


@dataclass(frozen=True, slots=True)
class Language:
    """Every word of one language. Braces are filled by name: title, name, and the parts of a date."""

    code: str
    subjects: dict[Kind, str]
    leads: dict[Kind, str]
    hello: str
    hello_nobody: str
    when: str
    planned: str
    new_time: str
    old_time: str
    new_title: str
    old_title: str
    join: str
    personal: str
    maybe: str
    removed: dict[Kind, str]
    page: str
    answer: str
    date: str
    same_day: str
    days: str
    weekdays: tuple[str, ...]
    months: tuple[str, ...]


ENGLISH = Language(
    code="en",
    subjects={
        "invited": "Invitation: {title}",
        "changed": "Changed: {title}",
        "cancelled": "Cancelled: {title}",
        "uninvited": "No longer registered: {title}",
    },
    leads={
        "invited": "You are invited to “{title}”.",
        "changed": "“{title}” has changed. Your calendar is updated with this mail.",
        "cancelled": "“{title}” has been cancelled.",
        "uninvited": "You are no longer registered for “{title}”.",
    },
    hello="Hello {name},",
    hello_nobody="Hello,",
    when="When",
    planned="It was planned for",
    new_time="New time",
    old_time="Time before",
    new_title="New title",
    old_title="Title before",
    join="Join",
    personal="This link is personal: it works for you alone and opens nothing for anyone else.",
    maybe="You answered “maybe”. Once you know that you are coming, please say so on the event page.",
    removed={
        "cancelled": "It is taken out of your calendar; there is nothing you need to do.",
        "uninvited": "It is taken out of your calendar, and your link no longer opens. "
        "You can register again on the event page.",
    },
    page="Event page",
    answer="To change your answer, please use the event page: what you answer in your calendar does not reach us.",
    date="{weekday}, {day} {month} {year}",
    same_day="{date}, {start}–{end} ({zone})",
    days="{date}, {start} – {end_date}, {end} ({zone})",
    weekdays=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    months=(
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
)

GERMAN = Language(
    code="de",
    subjects={
        "invited": "Einladung: {title}",
        "changed": "Geändert: {title}",
        "cancelled": "Abgesagt: {title}",
        "uninvited": "Nicht mehr angemeldet: {title}",
    },
    leads={
        "invited": "du bist zu „{title}“ eingeladen.",
        "changed": "„{title}“ hat sich geändert. Dein Kalender wird mit dieser Mail angepasst.",
        "cancelled": "„{title}“ wurde abgesagt.",
        "uninvited": "du bist nicht mehr zu „{title}“ angemeldet.",
    },
    hello="Hallo {name},",
    hello_nobody="Hallo,",
    when="Wann",
    planned="Geplant war",
    new_time="Neue Zeit",
    old_time="Bisherige Zeit",
    new_title="Neuer Titel",
    old_title="Bisheriger Titel",
    join="Teilnehmen",
    personal="Dieser Link ist persönlich: Er gilt nur für dich, für andere öffnet er nichts.",
    maybe="Du hast mit „vielleicht“ geantwortet. Sobald du weißt, dass du kommst, sag es bitte auf der Eventseite.",
    removed={
        "cancelled": "Der Termin wird aus deinem Kalender entfernt; du musst nichts weiter tun.",
        "uninvited": "Der Termin wird aus deinem Kalender entfernt, und dein Link öffnet nicht mehr. "
        "Auf der Eventseite kannst du dich wieder anmelden.",
    },
    page="Eventseite",
    answer="Deine Antwort änderst du auf der Eventseite: Was du im Kalender antwortest, erreicht uns nicht.",
    date="{weekday}, {day}. {month} {year}",
    same_day="{date}, {start}–{end} Uhr ({zone})",
    days="{date}, {start} Uhr – {end_date}, {end} Uhr ({zone})",
    weekdays=("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
    months=(
        *("Januar", "Februar", "März", "April", "Mai", "Juni"),
        *("Juli", "August", "September", "Oktober", "November", "Dezember"),
    ),
)

LANGUAGES = {language.code: language for language in (ENGLISH, GERMAN)}


def language(locale: str | None) -> Language:
    """The language of a locale such as `de-AT` or `de_DE` (BCP 47, POSIX); English for everything else."""
    return LANGUAGES.get((locale or "").replace("_", "-").partition("-")[0].lower(), ENGLISH)


def when(starts_at: datetime, ends_at: datetime, timezone: str, speech: Language) -> str:
    """A stretch of time as people in `timezone` read it: weekday, date, times on a 24-hour clock, zone. The day is
    said once where it begins and ends the event; the offset is named where the clocks change in between."""
    zone = ZoneInfo(timezone)
    start, end = starts_at.astimezone(zone), ends_at.astimezone(zone)
    form = speech.same_day if start.date() == end.date() else speech.days
    clock = "%H:%M" if start.utcoffset() == end.utcoffset() else "%H:%M %Z"
    return form.format(
        date=_date(start, speech),
        start=f"{start:{clock}}",
        end_date=_date(end, speech),
        end=f"{end:{clock}}",
        zone=timezone,
    )


def _date(moment: datetime, speech: Language) -> str:
    return speech.date.format(
        weekday=speech.weekdays[moment.weekday()],
        day=moment.day,
        month=speech.months[moment.month - 1],
        year=moment.year,
    )


def words(
    kind: Kind, invite: Invite, *, locale: str | None = None, before: Before | None = None, closing: str | None = None
) -> Words:
    """The words of the mail that carries `invite`. `changed` needs `before`, to say what is different. `closing` stands
    for the closing sentences and the event's page, for people to whom the platform's pages do not open.

    Raises ValueError when `changed` comes without it, or when the kind does not go with the invite's method.
    """
    if (kind in ("cancelled", "uninvited")) != (invite.method == "CANCEL"):
        raise ValueError(f"A mail of the kind {kind} cannot carry the method {invite.method}.")
    speech = language(locale)
    letter = _letter(kind, invite, before, speech)
    if closing is not None:
        letter = replace(letter, sentences=[closing], page=None)
    return Words(subject=speech.subjects[kind].format(title=invite.title), text=_text(letter), html=_html(letter))


@dataclass(frozen=True, slots=True)
class _Letter:
    """What one mail says, before it is plain text or HTML. `sentences` close it, `link` opens the meeting if any."""

    speech: Language
    title: str
    hello: str
    lead: str
    details: list[tuple[str, str]]
    link: str | None
    sentences: list[str]
    description: str
    page: str | None
    signature: str


def _letter(kind: Kind, invite: Invite, before: Before | None, speech: Language) -> _Letter:
    going = invite.method == "REQUEST"
    hello = speech.hello.format(name=invite.attendee_name) if invite.attendee_name else speech.hello_nobody
    return _Letter(
        speech=speech,
        title=invite.title,
        hello=hello,
        lead=speech.leads[kind].format(title=invite.title),
        details=_details(kind, invite, before, speech),
        link=invite.join_link if going else None,
        sentences=([speech.maybe] if invite.tentative else []) + [speech.answer] if going else [speech.removed[kind]],
        description=invite.description if going else "",
        page=invite.event_url,
        signature=invite.organizer_name,
    )


def _details(kind: Kind, invite: Invite, before: Before | None, speech: Language) -> list[tuple[str, str]]:
    now = when(invite.starts_at, invite.ends_at, invite.timezone, speech)
    if kind == "cancelled":
        return [(speech.planned, now)]
    if kind != "changed":
        return [(speech.when, now)]
    if before is None:
        raise ValueError("A mail of the kind changed needs before.")
    then = when(before.starts_at, before.ends_at, before.timezone, speech)
    time = [(speech.when, now)] if then == now else [(speech.new_time, now), (speech.old_time, then)]
    old_title = line(before.title)
    title = [] if old_title == invite.title else [(speech.new_title, invite.title), (speech.old_title, old_title)]
    return time + title


def _text(letter: _Letter) -> str:
    speech = letter.speech
    paragraphs = [
        letter.hello,
        letter.lead,
        "\n".join(f"{label}: {value}" for label, value in letter.details),
        f"{speech.join}: {letter.link}\n{speech.personal}" if letter.link else "",
        letter.description,
        *letter.sentences,
        f"{speech.page}: {letter.page}" if letter.page else "",
        letter.signature,
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


_PAGE = """\
<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
</head>
<body style="margin:0;padding:24px;background:#ffffff;color:#1f2933;font:16px/1.5 system-ui,Arial,sans-serif">
<main style="max-width:36em;margin:0 auto">
{body}
</main>
</body>
</html>
"""
_BUTTON = (
    "display:inline-block;padding:12px 28px;border-radius:6px;"
    "background:#1d4ed8;color:#ffffff;font-weight:bold;text-decoration:none"
)


def _html(letter: _Letter) -> str:
    speech = letter.speech
    paragraphs = [
        _rich(letter.hello),
        _rich(letter.lead),
        "<br>\n".join(f"<strong>{_rich(label)}:</strong> {_rich(value)}" for label, value in letter.details),
        _button(letter.link, speech) if letter.link else "",
        _rich(letter.description),
        *(_rich(sentence) for sentence in letter.sentences),
        f'<a href="{escape(letter.page)}" style="color:#1d4ed8">{_rich(speech.page)}</a>' if letter.page else "",
        _rich(letter.signature),
    ]
    body = "\n".join(f"<p>{paragraph}</p>" for paragraph in paragraphs if paragraph)
    return _PAGE.format(language=speech.code, title=escape(letter.title), body=body)


def _button(link: str, speech: Language) -> str:
    return (
        f'<a href="{escape(link)}" style="{_BUTTON}">{_rich(speech.join)}</a><br>\n'
        f'<small style="font-size:14px">{_rich(speech.personal)}</small>'
    )


def _rich(text: str) -> str:
    return escape(text).replace("\n", "<br>\n")
