"""The HTML pages that redirects lead to: what a person reads and can click. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from app.simulator.state import Meeting, User

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:38rem;margin:3rem auto;padding:0 1rem;color:#222}"
    "h1{font-size:1.5rem}button{font:inherit;padding:.4rem 1.2rem;margin-right:.5rem}"
    "label{display:block;margin:.3rem 0}code{background:#eee;padding:0 .2rem}"
    "input[type=text],input[type=email]{width:100%}"
)


def page(title: str, body: str) -> str:
    """Return a whole page. `body` is HTML."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}"
        "<p><small>This is a simulated Zoom.</small></p></body></html>"
    )


def message_page(title: str, text: str) -> str:
    """Return a page that only shows a message."""
    return page(title, f"<p>{escape(text)}</p>")


def consent_page(
    app_name: str,
    scopes: Sequence[str],
    people: Iterable[tuple[User, bool]],
    account_names: Mapping[str, str],
    query: Mapping[str, str],
    action: str,
) -> str:
    """Return the consent page: the scopes, a choice of users, and two buttons.

    Users who may not add the app cannot be chosen.
    """
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in query.items()
        if name not in ("as", "decision")
    )
    rows = ""
    checked = " checked"
    for user, may_add_app in people:
        state = checked if may_add_app else " disabled"
        checked = "" if may_add_app else checked
        description = f"{account_names[user.account_id]}, {user.role}" + (
            "" if may_add_app else ", may not add this app"
        )
        rows += (
            f'<label><input type="radio" name="as" value="{escape(user.email)}"{state}> '
            f"{escape(user.name)} &lt;{escape(user.email)}&gt; ({escape(description)})</label>"
        )
    scope_items = "".join(f"<li><code>{escape(scope)}</code></li>" for scope in scopes)
    return page(
        f"{app_name} would like to use your Zoom account",
        f'<form method="get" action="{escape(action)}">{hidden}<p>Sign in as</p>{rows}'
        f"<p>The app will be allowed to use</p><ul>{scope_items}</ul>"
        '<button name="decision" value="approve">Allow</button>'
        '<button name="decision" value="deny">Decline</button></form>',
    )


def joined_page(meeting: Meeting, name: str) -> str:
    """Return the page of a person whose link let them in."""
    notice = "" if meeting.running_instance else "<p>The host has not started this meeting yet.</p>"
    return page(f"You are in {meeting.topic} as {name}", f"{notice}<p>Meeting <code>{meeting.id}</code></p>")


def host_page(meeting: Meeting, name: str) -> str:
    """Return the page behind the start URL. Its button starts or ends the meeting inside Zoom."""
    verb = "end" if meeting.running_instance else "start"
    return page(
        f"You are in {meeting.topic} as {name}",
        f"<p>You are the host of meeting <code>{meeting.id}</code>.</p>"
        f'<form method="post" action="/simulator/meetings/{meeting.id}/{verb}">'
        f"<button>{verb.title()} the meeting</button></form>",
    )


def registration_form(meeting: Meeting) -> str:
    """Return the form where strangers register."""
    boxes = "".join(
        f'<label>{label} <input type="{kind}" name="{name}" required></label>'
        for label, name, kind in (
            ("First name", "first_name", "text"),
            ("Last name", "last_name", "text"),
            ("E-mail", "email", "email"),
        )
    )
    return page(
        f"Register for {meeting.topic}",
        f'<form method="post" action="{escape(meeting.registration_url)}">{boxes}<button>Register</button></form>',
    )
