"""What people read around reminders, in English and German: the mail, and the page that switches reminders off."""

from dataclasses import dataclass

from app.registrations.invites import Invite, Words
from app.registrations.letters import Letter, greeting, html, text, whose
from app.registrations.texts import language, when


@dataclass(frozen=True, slots=True)
class Speech:
    """Every word of one language. Braces are filled by name."""

    subject: str
    lead: str
    answer: str
    answer_of_guests: str
    off: str
    title: str
    ask_off: str
    button_off: str
    ask_on: str
    button_on: str
    is_on: str


ENGLISH = Speech(
    subject="Reminder: {title}",
    lead="“{title}” begins soon, and you are going.",
    answer="If you cannot come after all, please say so on the event page.",
    answer_of_guests="If you cannot come after all, please tell whoever invited you.",
    off="No more reminders by mail",
    title="Reminders by mail",
    ask_off="Do you want no more reminders before your events? Invitations and changes still reach you.",
    button_off="No more reminders",
    ask_on="You get no more reminders by mail. Invitations and changes still reach you.",
    button_on="Remind me again",
    is_on="You are reminded by mail again.",
)

GERMAN = Speech(
    subject="Erinnerung: {title}",
    lead="„{title}“ beginnt bald, und du bist dabei.",
    answer="Wenn du doch nicht kommen kannst, sag es bitte auf der Eventseite.",
    answer_of_guests="Wenn du doch nicht kommen kannst, sag es bitte der Person, die dich eingeladen hat.",
    off="Keine Erinnerungen mehr per Mail",
    title="Erinnerungen per Mail",
    ask_off="Möchtest du nicht mehr an deine Events erinnert werden? Einladungen und Änderungen kommen weiter.",
    button_off="Keine Erinnerungen mehr",
    ask_on="Du bekommst keine Erinnerungen mehr per Mail. Einladungen und Änderungen erreichen dich weiter.",
    button_on="Wieder erinnern",
    is_on="Du wirst wieder per Mail erinnert.",
)

_SPEECHES = {"en": ENGLISH, "de": GERMAN}


def speech(locale: str | None) -> Speech:
    """The words of a locale, as for the invites: English for everything not German."""
    return _SPEECHES[language(locale).code]


def words(invite: Invite, unsubscribe_url: str, *, locale: str | None, guest: bool) -> Words:
    """The words of a reminder of what `invite` says. It says the moment and no distance, for a mail may wait."""
    of_both, ours = language(locale), speech(locale)
    letter = Letter(
        speech=of_both,
        title=invite.title,
        hello=greeting(invite.attendee_name, of_both),
        lead=ours.lead.format(title=invite.title),
        details=[
            (of_both.when, when(invite.starts_at, invite.ends_at, invite.timezone, of_both)),
            *whose(invite, of_both),
        ],
        link=invite.join_link,
        sentences=[ours.answer_of_guests if guest else ours.answer],
        page=None if guest else invite.event_url,
        signature=invite.organizer_name,
        footer=(ours.off, unsubscribe_url),
    )
    return Words(subject=ours.subject.format(title=invite.title), text=text(letter), html=html(letter))
