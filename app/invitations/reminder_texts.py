"""Texts about reminders, in English and German: the mail, and the page that ends reminders."""

from dataclasses import dataclass

from app.invitations.icalendar import Invite, RenderedMail
from app.invitations.mail_rendering import MailContent, community_and_host, greeting, render_html, render_text
from app.invitations.texts import format_period, language_for


@dataclass(frozen=True, slots=True)
class ReminderTexts:
    """All texts of one language; braces are filled by name."""

    subject: str
    lead: str
    answer: str
    answer_for_guests: str
    unsubscribe_label: str
    title: str
    disable_prompt: str
    disable_button: str
    enable_prompt: str
    enable_button: str
    enabled_message: str


ENGLISH = ReminderTexts(
    subject="Reminder: {title}",
    lead="“{title}” begins soon, and you are going.",
    answer="If you cannot come after all, please say so on the event page.",
    answer_for_guests="If you cannot come after all, please tell whoever invited you.",
    unsubscribe_label="No more reminders by mail",
    title="Reminders by mail",
    disable_prompt="Do you want no more reminders before your events? Invitations and changes still reach you.",
    disable_button="No more reminders",
    enable_prompt="You get no more reminders by mail. Invitations and changes still reach you.",
    enable_button="Remind me again",
    enabled_message="You are reminded by mail again.",
)

GERMAN = ReminderTexts(
    subject="Erinnerung: {title}",
    lead="„{title}“ beginnt bald, und du bist dabei.",
    answer="Wenn du doch nicht kommen kannst, sag es bitte auf der Eventseite.",
    answer_for_guests="Wenn du doch nicht kommen kannst, sag es bitte der Person, die dich eingeladen hat.",
    unsubscribe_label="Keine Erinnerungen mehr per Mail",
    title="Erinnerungen per Mail",
    disable_prompt="Möchtest du nicht mehr an deine Events erinnert werden? Einladungen und Änderungen kommen weiter.",
    disable_button="Keine Erinnerungen mehr",
    enable_prompt="Du bekommst keine Erinnerungen mehr per Mail. Einladungen und Änderungen erreichen dich weiter.",
    enable_button="Wieder erinnern",
    enabled_message="Du wirst wieder per Mail erinnert.",
)

_TEXTS = {"en": ENGLISH, "de": GERMAN}


def reminder_texts_for(locale: str | None) -> ReminderTexts:
    """The texts for a locale: German for German locales, English for all others."""
    return _TEXTS[language_for(locale).code]


def render_reminder(invite: Invite, unsubscribe_url: str, *, locale: str | None, guest: bool) -> RenderedMail:
    """The subject and text of a reminder.

    It names the time and not how soon that is, as a mail may be delayed.
    """
    language = language_for(locale)
    texts = reminder_texts_for(locale)
    content = MailContent(
        language=language,
        title=invite.title,
        greeting=greeting(invite.attendee_name, language),
        lead=texts.lead.format(title=invite.title),
        details=[
            (language.when, format_period(invite.starts_at, invite.ends_at, invite.timezone, language)),
            *community_and_host(invite, language),
        ],
        link=invite.join_link,
        sentences=[texts.answer_for_guests if guest else texts.answer],
        page=None if guest else invite.event_url,
        signature=invite.organizer_name,
        footer=(texts.unsubscribe_label, unsubscribe_url),
    )
    return RenderedMail(
        subject=texts.subject.format(title=invite.title), text=render_text(content), html=render_html(content)
    )
