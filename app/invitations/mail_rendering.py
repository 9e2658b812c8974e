"""Renders a mail to a member: the same content as plain text, and as HTML that loads nothing."""

from dataclasses import dataclass, replace
from datetime import datetime
from html import escape

from app.core.text_cleaning import single_line
from app.invitations.calendar_links import all_links
from app.invitations.icalendar import Invite, RenderedMail
from app.invitations.texts import Language, MailKind, format_period, language_for


@dataclass(frozen=True, slots=True)
class PreviousEvent:
    """The event as its members last knew it; times are aware."""

    title: str
    starts_at: datetime
    ends_at: datetime
    timezone: str


@dataclass(frozen=True, slots=True)
class MailContent:
    """What one mail says, before it is plain text or HTML.

    `link` opens the meeting, if there is one. `calendar_links` are (calendar, link) pairs that add the event.
    `sentences` close the mail. `page` is the event's page. `footer` is a label and a link.
    """

    language: Language
    title: str
    greeting: str
    lead: str
    details: list[tuple[str, str]]
    link: str | None
    sentences: list[str]
    page: str | None
    signature: str
    description: str = ""
    calendar_links: tuple[tuple[str, str], ...] = ()
    footer: tuple[str, str] | None = None


def greeting(name: str, language: Language) -> str:
    """The greeting of a person, whose name may be empty."""
    return language.greeting.format(name=name) if name else language.greeting_without_name


def render(
    kind: MailKind,
    invite: Invite,
    *,
    locale: str | None = None,
    previous: PreviousEvent | None = None,
    closing: str | None = None,
) -> RenderedMail:
    """The subject and text of the mail that carries `invite`.

    The kind `changed` needs `previous`, to say what is different. `closing` replaces the closing sentences and the
    event's page, for people who cannot open the platform's pages.

    Raises ValueError if `changed` comes without `previous`, or if the kind does not match the invite's method.
    """
    if (kind in ("cancelled", "uninvited")) != (invite.method == "CANCEL"):
        raise ValueError(f"A mail of the kind {kind} cannot carry the method {invite.method}.")
    language = language_for(locale)
    content = _content(kind, invite, previous, language)
    if closing is not None:
        content = replace(content, sentences=[closing], page=None)
    return RenderedMail(
        subject=language.subjects[kind].format(title=invite.title), text=render_text(content), html=render_html(content)
    )


def _content(kind: MailKind, invite: Invite, previous: PreviousEvent | None, language: Language) -> MailContent:
    going = invite.method == "REQUEST"
    return MailContent(
        language=language,
        title=invite.title,
        greeting=greeting(invite.attendee_name, language),
        lead=language.leads[kind].format(title=invite.title),
        details=_details(kind, invite, previous, language) + community_and_host(invite, language),
        link=invite.join_link if going else None,
        sentences=([language.answered_maybe] if invite.tentative else []) + [language.change_answer]
        if going
        else [language.removed[kind]],
        description=invite.description if going else "",
        page=invite.event_url,
        signature=invite.organizer_name,
        calendar_links=all_links(invite) if kind in ("invited", "registered") else (),
    )


def community_and_host(invite: Invite, language: Language) -> list[tuple[str, str]]:
    """Labels and names of the community and the host, as far as they are known."""
    labelled = [(language.community, invite.community), (language.host, invite.host)]
    return [(label, name) for label, name in labelled if name]


def _details(
    kind: MailKind, invite: Invite, previous: PreviousEvent | None, language: Language
) -> list[tuple[str, str]]:
    current_time = format_period(invite.starts_at, invite.ends_at, invite.timezone, language)
    if kind == "cancelled":
        return [(language.planned, current_time)]
    if kind != "changed":
        return [(language.when, current_time)]
    if previous is None:
        raise ValueError("A mail of the kind changed needs before.")
    previous_time = format_period(previous.starts_at, previous.ends_at, previous.timezone, language)
    time = (
        [(language.when, current_time)]
        if previous_time == current_time
        else [(language.new_time, current_time), (language.old_time, previous_time)]
    )
    old_title = single_line(previous.title)
    title_rows = (
        [] if old_title == invite.title else [(language.new_title, invite.title), (language.old_title, old_title)]
    )
    return time + title_rows


def render_text(content: MailContent) -> str:
    """The mail as plain text."""
    language = content.language
    paragraphs = [
        content.greeting,
        content.lead,
        "\n".join(f"{label}: {value}" for label, value in content.details),
        f"{language.join}: {content.link}\n{language.personal_link}" if content.link else "",
        content.description,
        *content.sentences,
        f"{language.page}: {content.page}" if content.page else "",
        "\n".join([f"{language.add_to_calendar}:", *(f"{name}: {url}" for name, url in content.calendar_links)])
        if content.calendar_links
        else "",
        content.signature,
        f"{content.footer[0]}: {content.footer[1]}" if content.footer else "",
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


def render_html(content: MailContent) -> str:
    """The mail as an HTML document."""
    language = content.language
    paragraphs = [
        _rich(content.greeting),
        _rich(content.lead),
        "<br>\n".join(f"<strong>{_rich(label)}:</strong> {_rich(value)}" for label, value in content.details),
        _button(content.link, language) if content.link else "",
        _rich(content.description),
        *(_rich(sentence) for sentence in content.sentences),
        _anchor(language.page, content.page) if content.page else "",
        _small(f"{_rich(language.add_to_calendar)}: " + " · ".join(_anchor(*each) for each in content.calendar_links))
        if content.calendar_links
        else "",
        _rich(content.signature),
        _small(_anchor(*content.footer)) if content.footer else "",
    ]
    body = "\n".join(f"<p>{paragraph}</p>" for paragraph in paragraphs if paragraph)
    return _PAGE.format(language=language.code, title=escape(content.title), body=body)


def _button(link: str, language: Language) -> str:
    return f'<a href="{escape(link)}" style="{_BUTTON}">{_rich(language.join)}</a><br>\n' + _small(
        _rich(language.personal_link)
    )


def _anchor(label: str, url: str) -> str:
    return f'<a href="{escape(url)}" style="color:#1d4ed8">{_rich(label)}</a>'


def _small(inside: str) -> str:
    return f'<small style="font-size:14px">{inside}</small>'


def _rich(text: str) -> str:
    return escape(text).replace("\n", "<br>\n")
