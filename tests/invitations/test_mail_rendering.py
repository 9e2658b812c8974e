"""The texts of invitations and reminders, in English and German."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest

from app.invitations import reminder_texts
from app.invitations.calendar_links import all_links
from app.invitations.icalendar import Invite
from app.invitations.mail_rendering import render
from app.invitations.texts import ENGLISH, GERMAN, MailKind, format_period
from tests.support.invites import CANCELLED, INVITE, PREVIOUS_EVENT, UNINVITED

UNSUBSCRIBE = "https://zoom.kindryn.example/unsubscribe/ada"


def test_an_invitation_says_when_in_the_zone_of_the_event_and_that_the_link_is_personal() -> None:
    mail = render("invited", INVITE)
    assert mail.subject == "Invitation: Cooking with fire"
    for text in (mail.text, mail.html):
        assert "Wednesday, 25 November 2026, 11:00–12:00 (Europe/Berlin)" in text
        assert "Hello Ada Lovelace," in text
        assert "opens nothing for anyone else" in text
        assert INVITE.join_link in text
        assert INVITE.event_url in text


@pytest.mark.parametrize(
    ("locale", "subject", "lead"),
    [
        ("en", "Registered: Cooking with fire", "You are registered for “Cooking with fire”."),
        ("de", "Angemeldet: Cooking with fire", "du bist zu „Cooking with fire“ angemeldet."),
    ],
)
def test_who_answered_is_told_to_be_registered_and_not_invited(locale: str, subject: str, lead: str) -> None:
    mail = render("registered", INVITE, locale=locale)
    assert mail.subject == subject
    for text in (mail.text, mail.html):
        assert lead in text
        assert "invited" not in text
        assert "eingeladen" not in text
        assert "calendar.google.com" in text


@pytest.mark.parametrize("locale", ["en", "de"])
def test_every_mail_says_whose_event_it_is(locale: str) -> None:
    invite, cancelled = (
        replace(each, community="kitchen\u200b-club", host="Rosa\u202e Host") for each in (INVITE, CANCELLED)
    )
    mails = [
        render("registered", invite, locale=locale),
        render("changed", invite, locale=locale, previous=PREVIOUS_EVENT),
    ]
    mails.append(render("cancelled", cancelled, locale=locale))
    mails.append(reminder_texts.render_reminder(invite, UNSUBSCRIBE, locale=locale, guest=False))
    for mail in mails:
        assert "Community: kitchen-club\nHost: Rosa Host\n" in mail.text
        assert "kitchen-club" in mail.html
        assert "Rosa Host" in mail.html
    assert "Community:" not in render("registered", INVITE).text


def test_a_changed_event_says_what_is_different() -> None:
    moved = replace(INVITE, title="Cooking")
    both, time, title, details = (
        render("changed", invite, previous=before).text
        for invite, before in (
            (INVITE, PREVIOUS_EVENT),
            (moved, PREVIOUS_EVENT),
            (INVITE, replace(PREVIOUS_EVENT, starts_at=INVITE.starts_at, ends_at=INVITE.ends_at)),
            (moved, replace(PREVIOUS_EVENT, starts_at=INVITE.starts_at, ends_at=INVITE.ends_at)),
        )
    )
    new_time = "New time: Wednesday, 25 November 2026, 11:00–12:00 (Europe/Berlin)\n"
    old_time = "Time before: Tuesday, 24 November 2026, 11:00–12:00 (Europe/Berlin)\n"
    titles = "New title: Cooking with fire\nTitle before: Cooking\n"
    assert new_time + old_time + titles in both
    assert new_time + old_time in time
    assert "itle before" not in time
    assert titles in title
    assert "ime before" not in title
    assert "before" not in details


@pytest.mark.parametrize("locale", ["en", "de"])
@pytest.mark.parametrize(("invite", "kind"), [(CANCELLED, "cancelled"), (UNINVITED, "uninvited")])
def test_what_is_over_has_no_way_in(invite: Invite, kind: MailKind, locale: str) -> None:
    mail = render(kind, invite, locale=locale)
    assert invite.join_link not in mail.text + mail.html
    assert invite.event_url in mail.text
    assert invite.event_url in mail.html


def test_german_is_spoken_to_germans_and_english_to_the_rest() -> None:
    german = render("invited", INVITE, locale="de_AT")
    assert german.subject == "Einladung: Cooking with fire"
    assert "Mittwoch, 25. November 2026, 11:00–12:00 Uhr (Europe/Berlin)" in german.text
    assert '<html lang="de">' in german.html
    assert {render("invited", INVITE, locale=locale).subject for locale in (None, "", "fr", "en-GB")} == {
        "Invitation: Cooking with fire"
    }


def test_an_event_over_midnight_or_over_a_clock_change_is_clear() -> None:
    night = datetime(2026, 12, 31, 22, 30, tzinfo=UTC)
    over_midnight = format_period(night, night + timedelta(hours=2), "Europe/Berlin", GERMAN)
    assert over_midnight == (
        "Donnerstag, 31. Dezember 2026, 23:30 Uhr – Freitag, 1. Januar 2027, 01:30 Uhr (Europe/Berlin)"
    )
    october = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert format_period(october, october + timedelta(hours=1), "Europe/Berlin", ENGLISH) == (
        "Sunday, 25 October 2026, 02:30 CEST–02:30 CET (Europe/Berlin)"
    )


def test_the_words_fit_the_method() -> None:
    with pytest.raises(ValueError, match="CANCEL"):
        render("invited", CANCELLED)
    with pytest.raises(ValueError, match="before"):
        render("changed", INVITE)


def test_the_html_loads_nothing_from_anywhere() -> None:
    html = render("invited", INVITE).html
    assert not re.search(r"<(img|link|script|iframe|style)|url\(|src=", html)
    added = {url for _, url in all_links(INVITE)}
    assert set(map(unescape, re.findall(r'href="([^"]*)"', html))) == {INVITE.join_link, INVITE.event_url, *added}


@pytest.mark.parametrize("locale", ["en", "de"])
def test_only_an_invitation_offers_to_be_added_by_hand(locale: str) -> None:
    """An entry added again would be a second one, and a cancelled event is not added at all."""
    invited = render("invited", INVITE, locale=locale)
    for _, url in all_links(INVITE):
        assert url in invited.text
        assert url in unescape(invited.html)
    others = [
        render("changed", INVITE, locale=locale, previous=PREVIOUS_EVENT),
        render("cancelled", CANCELLED, locale=locale),
    ]
    assert not [text for mail in others for text in (mail.text, mail.html) if "calendar.google.com" in text]


TITLES = ["Cooking with fire", "Äpfel & Birnen + 100 % = ?#/;", "日本語 🧑‍🍳", 'a"b<c>d\\e', "x" * 200]


@pytest.mark.parametrize("title", TITLES)
def test_a_calendar_reads_from_its_link_what_the_event_is(title: str) -> None:
    invite = replace(INVITE, title=title)
    google, *outlooks = [_query(url) for _, url in all_links(invite)]
    assert google["text"] == title
    assert google["dates"] == "20261125T100000Z/20261125T110000Z"
    assert google["location"] == INVITE.join_link
    for outlook in outlooks:
        assert outlook["subject"] == title
        assert (outlook["startdt"], outlook["enddt"]) == ("2026-11-25T10:00:00Z", "2026-11-25T11:00:00Z")
        assert outlook["location"] == INVITE.join_link
        assert outlook["rru"] == "addevent"


@pytest.mark.parametrize("title", TITLES)
def test_a_link_to_a_calendar_is_one_word_of_plain_characters(title: str) -> None:
    for _, url in all_links(replace(INVITE, title=title)):
        assert re.fullmatch(r"https://[A-Za-z0-9./?&=%_~-]+", url), "a + would be shown as one by Outlook"
        assert urlsplit(url).hostname in {"calendar.google.com", "outlook.live.com", "outlook.office.com"}


def _query(url: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query, strict_parsing=True).items()}


def test_a_reminder_says_when_where_and_how_to_end_reminders() -> None:
    mail = reminder_texts.render_reminder(INVITE, UNSUBSCRIBE, locale="en", guest=False)
    assert mail.subject == "Reminder: Cooking with fire"
    for text in (mail.text, mail.html):
        assert "Wednesday, 25 November 2026, 11:00–12:00 (Europe/Berlin)" in text
        assert INVITE.join_link in text
        assert INVITE.event_url in text
        assert UNSUBSCRIBE in text


def test_a_reminder_speaks_german_to_germans() -> None:
    mail = reminder_texts.render_reminder(INVITE, UNSUBSCRIBE, locale="de-CH", guest=False)
    assert mail.subject == "Erinnerung: Cooking with fire"
    for text in (mail.text, mail.html):
        assert "Mittwoch, 25. November 2026, 11:00–12:00 Uhr (Europe/Berlin)" in text
        assert "Keine Erinnerungen mehr" in text


def test_a_guest_is_not_sent_to_a_page_that_does_not_open_to_guests() -> None:
    mail = reminder_texts.render_reminder(INVITE, UNSUBSCRIBE, locale="en", guest=True)
    assert INVITE.event_url not in mail.text + mail.html
    assert "whoever invited you" in mail.text


def test_no_title_becomes_markup_in_a_reminder() -> None:
    mail = reminder_texts.render_reminder(
        replace(INVITE, title="</p><img src=x>"), UNSUBSCRIBE, locale="en", guest=False
    )
    assert "<img" not in mail.html
