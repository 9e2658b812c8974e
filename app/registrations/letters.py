"""How a mail to a member is put together: the same letter as plain text, and as HTML that loads nothing."""

from dataclasses import dataclass, replace
from datetime import datetime
from html import escape

from app.core.cleaning import line
from app.registrations.calendar_links import links
from app.registrations.invites import Invite, Words
from app.registrations.texts import Kind, Language, language, when


@dataclass(frozen=True, slots=True)
class Before:
    """How the event stood when its members last heard of it; times are aware."""

    title: str
    starts_at: datetime
    ends_at: datetime
    timezone: str


@dataclass(frozen=True, slots=True)
class Letter:
    """What one mail says, before it is plain text or HTML. `link` opens the meeting if any, `add` names
    calendars and what adds the event to them, `sentences` close the letter, `page` is the event's, `footer` a label and
    a link."""

    speech: Language
    title: str
    hello: str
    lead: str
    details: list[tuple[str, str]]
    link: str | None
    sentences: list[str]
    page: str | None
    signature: str
    description: str = ""
    add: tuple[tuple[str, str], ...] = ()
    footer: tuple[str, str] | None = None


def greeting(name: str, speech: Language) -> str:
    """Hello to somebody, whose name may be unknown."""
    return speech.hello.format(name=name) if name else speech.hello_nobody


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
    return Words(subject=speech.subjects[kind].format(title=invite.title), text=text(letter), html=html(letter))


def _letter(kind: Kind, invite: Invite, before: Before | None, speech: Language) -> Letter:
    going = invite.method == "REQUEST"
    return Letter(
        speech=speech,
        title=invite.title,
        hello=greeting(invite.attendee_name, speech),
        lead=speech.leads[kind].format(title=invite.title),
        details=_details(kind, invite, before, speech) + whose(invite, speech),
        link=invite.join_link if going else None,
        sentences=([speech.maybe] if invite.tentative else []) + [speech.answer] if going else [speech.removed[kind]],
        description=invite.description if going else "",
        page=invite.event_url,
        signature=invite.organizer_name,
        add=links(invite) if kind in ("invited", "registered") else (),
    )


def whose(invite: Invite, speech: Language) -> list[tuple[str, str]]:
    """Whose event it is: the community, and who hosts it, as far as they are known."""
    named = [(speech.community, invite.community), (speech.host, invite.host)]
    return [(label, name) for label, name in named if name]


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


def text(letter: Letter) -> str:
    """The letter as plain text."""
    speech = letter.speech
    paragraphs = [
        letter.hello,
        letter.lead,
        "\n".join(f"{label}: {value}" for label, value in letter.details),
        f"{speech.join}: {letter.link}\n{speech.personal}" if letter.link else "",
        letter.description,
        *letter.sentences,
        f"{speech.page}: {letter.page}" if letter.page else "",
        "\n".join([f"{speech.add}:", *(f"{name}: {url}" for name, url in letter.add)]) if letter.add else "",
        letter.signature,
        f"{letter.footer[0]}: {letter.footer[1]}" if letter.footer else "",
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


def html(letter: Letter) -> str:
    """The letter as an HTML document."""
    speech = letter.speech
    paragraphs = [
        _rich(letter.hello),
        _rich(letter.lead),
        "<br>\n".join(f"<strong>{_rich(label)}:</strong> {_rich(value)}" for label, value in letter.details),
        _button(letter.link, speech) if letter.link else "",
        _rich(letter.description),
        *(_rich(sentence) for sentence in letter.sentences),
        _anchor(speech.page, letter.page) if letter.page else "",
        _small(f"{_rich(speech.add)}: " + " · ".join(_anchor(*each) for each in letter.add)) if letter.add else "",
        _rich(letter.signature),
        _small(_anchor(*letter.footer)) if letter.footer else "",
    ]
    body = "\n".join(f"<p>{paragraph}</p>" for paragraph in paragraphs if paragraph)
    return _PAGE.format(language=speech.code, title=escape(letter.title), body=body)


def _button(link: str, speech: Language) -> str:
    return f'<a href="{escape(link)}" style="{_BUTTON}">{_rich(speech.join)}</a><br>\n' + _small(_rich(speech.personal))


def _anchor(label: str, url: str) -> str:
    return f'<a href="{escape(url)}" style="color:#1d4ed8">{_rich(label)}</a>'


def _small(inside: str) -> str:
    return f'<small style="font-size:14px">{inside}</small>'


def _rich(text: str) -> str:
    return escape(text).replace("\n", "<br>\n")
