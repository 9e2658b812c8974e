"""An invite as tests use it: as an invitation, cancelled, and for one member alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

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
