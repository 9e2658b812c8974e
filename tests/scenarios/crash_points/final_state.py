"""The final state of a scenario, in a form that two runs can be compared by."""

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from typing import Any
from uuid import UUID

from app.core.database import Model
from app.core.models import OutboxRow
from tests.support.service import RunningService

# Columns that a repetition may change: how often something was requested or sent, and what led to the final state.
IGNORED_TABLES = {
    "quota_usage",
    "clicks",
    "connects",
    "deliveries",
    "idempotency_keys",
    "queues",
    "rate_limit_slots",
    "revocations",
    "tickets",
}
# What Zoom last reported of the registrants of a deleted meeting depends on which was cancelled first.
QUERIES = {
    "registrants": "SELECT registrants.* FROM registrants JOIN meetings ON meetings.id = registrants.meeting_id"
    " WHERE meetings.state <> 'retired'"
}
IGNORED_COLUMNS = {"orphan_markers", "generation", "notified_at"}
# How many mails changed a calendar, and what it showed before the last one.
COLUMNS_CHANGED_BY_TOGGLING = {"invite_sequence", "invite_before"}
REGENERATED_NAMES = {"marker", "join_link", "unsubscribe_link", "zoom_registrant_id"}
PROMISED_TIMES = {"starts_at", "ends_at"}
_GENERATED_NAMES = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # our ids
    r"|kindryn:[\w-]+"  # the marker of a meeting
    r"|\b\d{9,}\b"  # Zoom's ids
    r"|(?<=/join/)[\w-]+"
)
_ZOOM_GENERATED_FIELDS = {
    "id", "uuid", "created_at", "password", "pwd", "registration_key", "registration_url", "join_url", "tk", "pin",
}  # fmt: skip


@dataclass(frozen=True)
class FinalState:
    """The tables, Zoom's meetings and grants, and the mails, as lists in an order independent of time."""

    tables: dict[str, list[str]]
    zoom: dict[str, list[str]]
    mails: list[str]

    def differences(self, other: "FinalState") -> list[str]:
        """Return what only one of the two states contains, one line each."""
        mine, theirs = self._lines(), other._lines()
        return [f"- {line}" for line in mine - theirs] + [f"+ {line}" for line in theirs - mine]

    def _lines(self) -> set[str]:
        places = {**self.tables, **self.zoom, "mails": self.mails}
        return {f"{place} {lines.count(line)} x {line}" for place, lines in places.items() for line in lines}


async def read_final_state(service: RunningService, *, toggled: bool = False) -> FinalState:
    """Read the current state. Raises AssertionError if one mail was sent in two versions.

    If a member `toggled`, only the last mail to each calendar counts.
    """
    left_out = IGNORED_COLUMNS | (COLUMNS_CHANGED_BY_TOGGLING if toggled else set())
    tables = {}
    for table in Model.metadata.sorted_tables:
        if table.name not in IGNORED_TABLES | {OutboxRow.__tablename__}:
            rows = await service.resources.db.pool.fetch(QUERIES.get(table.name, f'SELECT * FROM "{table.name}"'))  # noqa: S608 - our own names
            kept = ({name: value for name, value in row.items() if name not in left_out} for row in rows)
            tables[table.name] = sorted(map(_row_text, kept))
    dead = await service.resources.db.pool.fetch("SELECT job, reason FROM outbox WHERE dead_at IS NOT NULL")
    tables["dead rows"] = sorted(_row_text(dict(row)) for row in dead)
    state = (await service.zoom.get("/simulator/state")).json()
    zoom = {
        "meetings at Zoom": sorted(_row_text(_comparable_meeting(meeting)) for meeting in state["meetings"]),
        "live grants": sorted(_row_text({"user": grant["user_id"]}) for grant in state["grants"] if grant["alive"]),
    }
    return FinalState(tables, zoom, _last_mails(service) if toggled else _mails(service))


def _last_mails(service: RunningService) -> list[str]:
    """Return what the mails left in each calendar: the mail with the highest SEQUENCE decides."""
    shown: dict[str, tuple[int, str]] = {}
    for mail in service.mailbox.all():
        fields = dict(line.split(":", 1) for line in _calendar_of(mail.message) if ":" in line)
        if fields:
            state = (int(fields["SEQUENCE"]), f"{fields['METHOD']} {fields['SUMMARY']}")
            shown[fields["UID"]] = max(state, shown.get(fields["UID"], state))
    return sorted(_without_names(fields) for _, fields in shown.values())


def _mails(service: RunningService) -> list[str]:
    """Return every mail once. A repetition has the same Message-ID and the same content."""
    versions: dict[str, set[str]] = defaultdict(set)
    for mail in service.mailbox.all():
        message = mail.message
        content = _without_names(f"{message['To']} {message['Subject']} {sorted(_calendar_of(message))}")
        versions[str(message["Message-ID"])].add(content)
    assert all(len(content) == 1 for content in versions.values()), f"one Message-ID, two mails: {versions}"
    return sorted(content for (content,) in versions.values())


def _calendar_of(message: EmailMessage) -> list[str]:
    """Return the lines of a mail's calendar that say what it does to which entry."""
    parts = (part for part in message.walk() if part.get_content_type() == "text/calendar")
    text = next((part.get_content() for part in parts), "")
    return [line for line in text.splitlines() if line.startswith(("METHOD", "SEQUENCE", "SUMMARY", "UID"))]


def _comparable_meeting(meeting: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in meeting.items() if name not in _ZOOM_GENERATED_FIELDS}
    kept["registrants"] = sorted(
        _row_text({name: value for name, value in registrant.items() if name not in _ZOOM_GENERATED_FIELDS})
        for registrant in meeting["registrants"]
    )
    return kept


def _row_text(row: dict[str, Any]) -> str:
    values = {
        name: _comparable_value(name, value) for name, value in sorted(row.items()) if name not in IGNORED_COLUMNS
    }
    return _without_names(str(values))


def _comparable_value(name: str, value: Any) -> Any:
    if isinstance(value, datetime) and name not in PROMISED_TIMES:
        return "a time"
    if isinstance(value, bytes):
        return "sealed"
    if name == "last_error" and value and "possible-orphan" in str(value):
        return None  # we log it on purpose if a creation stayed without a response; real orphans show at Zoom
    if isinstance(value, UUID) or (isinstance(value, int) and value > 10**8):
        return "an id"
    return "a name" if value is not None and name in REGENERATED_NAMES else value


def _without_names(text: str) -> str:
    return _GENERATED_NAMES.sub("*", text)
