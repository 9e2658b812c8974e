"""Invites as tests use them, and hostile text for their fields."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st

from app.invitations.icalendar import Invite
from app.invitations.mail_rendering import PreviousEvent

INVITE = Invite(
    uid="6f0c2d1e@kindryn.example",
    sequence=3,
    method="REQUEST",
    tentative=False,
    title="Cooking with fire",
    description="We cook.\nBring a knife.",
    starts_at=datetime(2026, 11, 25, 10, 0, tzinfo=UTC),
    ends_at=datetime(2026, 11, 25, 11, 0, tzinfo=UTC),
    timezone="Europe/Berlin",
    join_link="https://zoom.kindryn.example/join/ada-link",
    event_url="https://kindryn.example/kitchen/events/1",
    organizer_name="Kitchen Club",
    organizer_email="events@kindryn.example",
    attendee_name="Ada Lovelace",
    attendee_email="ada@example.com",
    stamp=datetime(2026, 11, 1, 9, 30, tzinfo=UTC),
)
CANCELLED = replace(INVITE, method="CANCEL", sequence=4, whole_event_cancelled=True)
UNINVITED = replace(INVITE, method="CANCEL", sequence=4)
PREVIOUS_EVENT = PreviousEvent(
    "Cooking", INVITE.starts_at - timedelta(days=1), INVITE.ends_at - timedelta(days=1), "Europe/Berlin"
)

HOSTILE = (
    *(
        "\r\n",
        "\n",
        "\r",
        "\x00",
        "\x0b",
        "\x85",
        "\u2028",
        "\u202e",
        "\ud800",
        "\t",
        '"',
        ";",
        ":",
        ",",
        "\\",
        "^",
        "'",
    ),
    *("\\N", "\\n", "\\;", "^'", "^n", "\r\nATTENDEE:mailto:eve@evil.example", "\r\nBcc: eve@evil.example"),
    *('";X-EVIL="1', "\\;RSVP=FALSE:mailto:eve@evil.example", ", Eve <eve@evil.example>", "(", "<", "@", "]"),
    *("=?utf-8?q?=0D=0ABcc:_eve@evil.example?=", "\r\nEND:VEVENT\r\nBEGIN:VALARM", "</p><img src=x>", "ü" * 80, "🧑‍🍳"),
)
ANY_CHARACTER = st.text(st.characters(exclude_categories=()), max_size=40)
# Any text of a person, with everything that could break out of a line, a parameter, a header or markup.
hostile = st.lists(ANY_CHARACTER | st.sampled_from(HOSTILE), max_size=6).map("".join)
# A property test on a busy machine may take long.
unhurried = settings(deadline=None)
