"""Texts of the invitations, in English and German, and how each language writes a time.

Reminders and guests have texts of their own: a new language is one more `Language` here and its counterparts there, a
new wording is one changed string.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

MailKind = Literal["invited", "registered", "changed", "cancelled", "uninvited"]


@dataclass(frozen=True, slots=True)
class Language:
    """All texts of one language. Braces are filled by name: title, name, and the parts of a date."""

    code: str
    subjects: dict[MailKind, str]
    leads: dict[MailKind, str]
    greeting: str
    greeting_without_name: str
    when: str
    community: str
    host: str
    planned: str
    new_time: str
    old_time: str
    new_title: str
    old_title: str
    join: str
    personal_link: str
    add_to_calendar: str
    answered_maybe: str
    removed: dict[MailKind, str]
    page: str
    change_answer: str
    date: str
    same_day: str
    different_days: str
    weekdays: tuple[str, ...]
    months: tuple[str, ...]


ENGLISH = Language(
    code="en",
    subjects={
        "invited": "Invitation: {title}",
        "registered": "Registered: {title}",
        "changed": "Changed: {title}",
        "cancelled": "Cancelled: {title}",
        "uninvited": "No longer registered: {title}",
    },
    leads={
        "invited": "You are invited to “{title}”.",
        "registered": "You are registered for “{title}”.",
        "changed": "“{title}” has changed. Your calendar is updated with this mail.",
        "cancelled": "“{title}” has been cancelled.",
        "uninvited": "You are no longer registered for “{title}”.",
    },
    greeting="Hello {name},",
    greeting_without_name="Hello,",
    when="When",
    community="Community",
    host="Host",
    planned="It was planned for",
    new_time="New time",
    old_time="Time before",
    new_title="New title",
    old_title="Title before",
    join="Join",
    personal_link="This link is personal: it works for you alone and opens nothing for anyone else.",
    add_to_calendar="If your calendar did not take this event from the mail, add it to",
    answered_maybe="You answered “maybe”. Once you know that you are coming, please say so on the event page.",
    removed={
        "cancelled": "It is taken out of your calendar; there is nothing you need to do.",
        "uninvited": "It is taken out of your calendar, and your link no longer opens. "
        "You can register again on the event page.",
    },
    page="Event page",
    change_answer="To change your answer, please use the event page: what you answer in your calendar does not reach "
    "us.",
    date="{weekday}, {day} {month} {year}",
    same_day="{date}, {start}–{end} ({zone})",
    different_days="{date}, {start} – {end_date}, {end} ({zone})",
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
        "registered": "Angemeldet: {title}",
        "changed": "Geändert: {title}",
        "cancelled": "Abgesagt: {title}",
        "uninvited": "Nicht mehr angemeldet: {title}",
    },
    leads={
        "invited": "du bist zu „{title}“ eingeladen.",
        "registered": "du bist zu „{title}“ angemeldet.",
        "changed": "„{title}“ hat sich geändert. Dein Kalender wird mit dieser Mail angepasst.",
        "cancelled": "„{title}“ wurde abgesagt.",
        "uninvited": "du bist nicht mehr zu „{title}“ angemeldet.",
    },
    greeting="Hallo {name},",
    greeting_without_name="Hallo,",
    when="Wann",
    community="Community",
    host="Host",
    planned="Geplant war",
    new_time="Neue Zeit",
    old_time="Bisherige Zeit",
    new_title="Neuer Titel",
    old_title="Bisheriger Titel",
    join="Teilnehmen",
    personal_link="Dieser Link ist persönlich: Er gilt nur für dich, für andere öffnet er nichts.",
    add_to_calendar="Falls dein Kalender den Termin nicht aus der Mail übernommen hat, hier eintragen",
    answered_maybe="Du hast mit „vielleicht“ geantwortet. Sobald du weißt, dass du kommst, sag es bitte auf der "
    "Eventseite.",
    removed={
        "cancelled": "Der Termin wird aus deinem Kalender entfernt; du musst nichts weiter tun.",
        "uninvited": "Der Termin wird aus deinem Kalender entfernt, und dein Link öffnet nicht mehr. "
        "Auf der Eventseite kannst du dich wieder anmelden.",
    },
    page="Eventseite",
    change_answer="Deine Antwort änderst du auf der Eventseite: Was du im Kalender antwortest, erreicht uns nicht.",
    date="{weekday}, {day}. {month} {year}",
    same_day="{date}, {start}–{end} Uhr ({zone})",
    different_days="{date}, {start} Uhr – {end_date}, {end} Uhr ({zone})",
    weekdays=("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
    months=(
        *("Januar", "Februar", "März", "April", "Mai", "Juni"),
        *("Juli", "August", "September", "Oktober", "November", "Dezember"),
    ),
)

LANGUAGES = {language.code: language for language in (ENGLISH, GERMAN)}


def language_for(locale: str | None) -> Language:
    """The language of a locale such as `de-AT` or `de_DE` (BCP 47, POSIX); English for everything else."""
    return LANGUAGES.get((locale or "").replace("_", "-").partition("-")[0].lower(), ENGLISH)


def format_period(starts_at: datetime, ends_at: datetime, timezone: str, language: Language) -> str:
    """A period as people in `timezone` read it: weekday, date, times on a 24-hour clock, zone.

    A day on which the period both starts and ends is named once. If the clocks change in between, each time names its
    offset (`%Z`).
    """
    zone = ZoneInfo(timezone)
    start, end = starts_at.astimezone(zone), ends_at.astimezone(zone)
    pattern = language.same_day if start.date() == end.date() else language.different_days
    clock = "%H:%M" if start.utcoffset() == end.utcoffset() else "%H:%M %Z"
    return pattern.format(
        date=format_date(start, language),
        start=f"{start:{clock}}",
        end_date=format_date(end, language),
        end=f"{end:{clock}}",
        zone=timezone,
    )


def format_date(moment: datetime, language: Language) -> str:
    """The day of a time, in the time's own zone."""
    return language.date.format(
        weekday=language.weekdays[moment.weekday()],
        day=moment.day,
        month=language.months[moment.month - 1],
        year=moment.year,
    )
