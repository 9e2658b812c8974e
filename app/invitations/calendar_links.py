"""Links that open a web calendar with the event filled in. Pure.

They are for people whom the mailed invite does not reach. Neither calendar documents these links in full. Their forms
are those of the calendars' own "share" buttons and of add-to-calendar tools. An entry made this way is a copy: no later
mail changes it.
"""

from datetime import datetime
from urllib.parse import quote, urlencode

from app.invitations.icalendar import Invite

GOOGLE = "https://calendar.google.com/calendar/render"
OUTLOOK = "https://outlook.live.com/calendar/0/deeplink/compose"
OFFICE365 = "https://outlook.office.com/calendar/0/deeplink/compose"


def all_links(invite: Invite) -> tuple[tuple[str, str], ...]:
    """(name of the calendar, link) for each supported calendar."""
    return (
        ("Google Calendar", google(invite)),
        ("Outlook.com", outlook(invite, OUTLOOK)),
        ("Microsoft 365", outlook(invite, OFFICE365)),
    )


def google(invite: Invite) -> str:
    """The link for Google Calendar. Times are in UTC; `ctz` is the zone in which they are shown."""
    return _url(
        GOOGLE,
        action="TEMPLATE",
        text=invite.title,
        dates=f"{invite.starts_at:%Y%m%dT%H%M%SZ}/{invite.ends_at:%Y%m%dT%H%M%SZ}",
        ctz=invite.timezone,
        details="\n".join(_urls(invite)),
        location=invite.join_link,
    )


def outlook(invite: Invite, base: str) -> str:
    """The link for Outlook on the web, where the body is HTML.

    `base` is `OUTLOOK` for private accounts and `OFFICE365` for organisations.
    """
    return _url(
        base,
        path="/calendar/action/compose",
        rru="addevent",
        subject=invite.title,
        startdt=_instant(invite.starts_at),
        enddt=_instant(invite.ends_at),
        body="<br>".join(_urls(invite)),
        location=invite.join_link,
    )


def _urls(invite: Invite) -> list[str]:
    """The join link and the event's page; one URL if both are the same."""
    return list(dict.fromkeys((invite.join_link, invite.event_url)))


def _instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _url(base: str, **parameters: str) -> str:
    # Outlook shows a `+` as it stands, so a space is %20.
    return f"{base}?{urlencode(parameters, quote_via=quote, safe='')}"
