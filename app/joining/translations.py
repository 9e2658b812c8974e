"""The sentences of joining in other languages than English (pure).

The English sentence is the key, with its braces not yet filled. A sentence without a translation stays English. Guests
have texts of their own (`invitations.guest_texts`).
"""

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from app.invitations.texts import Language, format_date
from app.registrants import address_conflicts

GERMAN = {
    "See the event": "Zum Event",
    "Go to the event": "Zum Event",
    "Go to the platform": "Zur Plattform",
    "Try again": "Noch einmal versuchen",
    "Join": "Teilnehmen",
    "Use my own link": "Meinen eigenen Link benutzen",
    "You clicked very often: wait a minute, then try once more.": (
        "Du hast sehr oft geklickt: Warte eine Minute und versuch es dann noch einmal."
    ),
    "There is no such event in your communities.": "Dieses Event gibt es in deinen Communitys nicht.",
    "Your place was taken away inside Zoom: ask the organisers to add you again.": (
        "Dein Platz wurde dir in Zoom genommen: Bitte das Organisationsteam, dich wieder hinzuzufügen."
    ),
    "You are not registered for this event, and it takes no more answers.": (
        "Du bist für dieses Event nicht angemeldet, und es nimmt keine Antworten mehr an."
    ),
    'You answered "maybe": change your RSVP to "going" to join.': (
        "Du hast mit „vielleicht“ geantwortet: Sag zu, um teilzunehmen."
    ),
    "You are not registered for this event: RSVP first to join.": (
        "Du bist für dieses Event nicht angemeldet: Sag erst zu, um teilzunehmen."
    ),
    "You are on the waiting list: you can join as soon as a place becomes free.": (
        "Du stehst auf der Warteliste: Du kannst teilnehmen, sobald ein Platz frei wird."
    ),
    "You were marked as not having come to this session: ask your coach.": (
        "Du wurdest für diese Sitzung als nicht erschienen vermerkt: Frag deinen Coach."
    ),
    "This event was cancelled.": "Dieses Event wurde abgesagt.",
    "Meeting unavailable: it no longer exists on Zoom. Ask the organisers.": (
        "Das Meeting ist nicht verfügbar: Auf Zoom gibt es es nicht mehr. Frag das Organisationsteam."
    ),
    "This event has ended; if the host starts it again, you can join again.": (
        "Dieses Event ist vorbei; startet der Host es noch einmal, ist auch der Einlass wieder offen."
    ),
    "This event has ended.": "Dieses Event ist vorbei.",
    "You can join from {opens_at}.": "Der Einlass beginnt am {opens_at}.",
    "This event does not run on Zoom: join it on its page.": (
        "Dieses Event findet nicht auf Zoom statt: Nimm auf seiner Seite teil."
    ),
    "You are the host: start the meeting from the event's page.": (
        "Du bist Host: Starte das Meeting auf der Seite des Events."
    ),
    "Zoom counts you among the hosts of this meeting: start it in Zoom itself, signed in there as {address}.": (
        "Für Zoom gehörst du zu den Hosts dieses Meetings: Starte es in Zoom selbst, dort angemeldet als {address}."
    ),
    "Only the hosts of this event may start it.": "Nur die Hosts dieses Events dürfen es starten.",
    "The Zoom account must be connected again: start the meeting in Zoom itself.": (
        "Das Zoom-Konto muss neu verbunden werden: Starte das Meeting in Zoom selbst."
    ),
    "The Zoom meeting is still being made.": "Das Zoom-Meeting wird noch angelegt.",
    "Verify your e-mail address in Kindryn, then join again: Zoom knows people by their address.": (
        "Bestätige deine E-Mail-Adresse in Kindryn und nimm dann noch einmal teil: Zoom kennt Leute an ihrer Adresse."
    ),
    address_conflicts.ADDRESS_TAKEN: (
        "Zoom nimmt jede E-Mail-Adresse nur einmal, und mit deiner ist hier schon jemand anderes angemeldet:"
        " Nimm in Kindryn eine andere Adresse und sag dann noch einmal zu."
    ),
    "Your link was taken back, and Zoom makes no other: ask the organisers to let you in.": (
        "Dein Link wurde zurückgenommen, und Zoom macht keinen anderen: Bitte das Organisationsteam um Einlass."
    ),
    "Your place cannot be prepared until the organisers connect their Zoom account again.": (
        "Dein Platz lässt sich erst vorbereiten, wenn das Organisationsteam sein Zoom-Konto neu verbunden hat."
    ),
    "Your place in the meeting could not be prepared. {reason} Please tell the organisers.": (
        "Dein Platz im Meeting ließ sich nicht vorbereiten: Sag bitte dem Organisationsteam Bescheid."
    ),
    "Your place in the meeting could not be prepared. Please tell the organisers.": (
        "Dein Platz im Meeting ließ sich nicht vorbereiten: Sag bitte dem Organisationsteam Bescheid."
    ),
    "Your place in the meeting is not ready yet. {reason}": (
        "Dein Platz im Meeting ist noch nicht fertig: Versuch es später noch einmal."
    ),
    "Your place in the meeting is being prepared: try again in a few seconds.": (
        "Dein Platz im Meeting wird vorbereitet: Versuch es in ein paar Sekunden noch einmal."
    ),
    "Zoom takes three registrations of one address a day: your place in the meeting is made after midnight UTC.": (
        "Zoom nimmt jede Adresse nur dreimal am Tag an: Dein Platz im Meeting entsteht nach Mitternacht (UTC)."
    ),
    "This ticket belongs to somebody else: join from the event's page.": (
        "Dieser Zugang gehört jemand anderem: Nimm von der Seite des Events aus teil."
    ),
    "This ticket was already used: join once more.": "Dieser Zugang wurde schon benutzt: Nimm noch einmal teil.",
    "This ticket has expired: join once more.": "Dieser Zugang ist abgelaufen: Nimm noch einmal teil.",
    "This ticket was already used: join once more from the event's page.": (
        "Dieser Zugang wurde schon benutzt: Nimm von der Seite des Events aus noch einmal teil."
    ),
    "This ticket has expired: join once more from the event's page.": (
        "Dieser Zugang ist abgelaufen: Nimm von der Seite des Events aus noch einmal teil."
    ),
    "This link belongs to somebody else: RSVP to get your own.": (
        "Dieser Link gehört jemand anderem: Sag zu, dann bekommst du deinen eigenen."
    ),
    "This link belongs to somebody else: use your own.": "Dieser Link gehört jemand anderem: Nimm deinen eigenen.",
    "Meeting unavailable: its link does not lead to Zoom.": (
        "Das Meeting ist nicht verfügbar: Sein Link führt nicht zu Zoom."
    ),
    "Meeting unavailable: your link cannot be read any more.": (
        "Das Meeting ist nicht verfügbar: Dein Link lässt sich nicht mehr lesen."
    ),
    "Meeting unavailable: it no longer exists on Zoom.": (
        "Das Meeting ist nicht verfügbar: Auf Zoom gibt es es nicht mehr."
    ),
    "Zoom does not answer right now: try again, or start the meeting in Zoom itself.": (
        "Zoom antwortet gerade nicht: Versuch es noch einmal oder starte das Meeting in Zoom selbst."
    ),
}
_CATALOGUES = {"de": GERMAN}
_DATE_TIME_FORMATS = {"en": "{date} at {time} ({zone})", "de": "{date} um {time} Uhr ({zone})"}


def translate(sentence: str, params: Mapping[str, str], opens_at: datetime | None, language: Language) -> str:
    """Return a sentence in a language with its braces filled.

    `opens_at` is shown in the time zone `params["timezone"]`.
    """
    template = _CATALOGUES.get(language.code, {}).get(sentence, sentence)
    if opens_at is None or "timezone" not in params:
        return template.format(**params)
    local = opens_at.astimezone(ZoneInfo(params["timezone"]))
    opens = _DATE_TIME_FORMATS[language.code].format(
        date=format_date(local, language), time=f"{local:%H:%M}", zone=params["timezone"]
    )
    return template.format(opens_at=opens)
