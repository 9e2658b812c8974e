"""What is left when a path is at its end, in words that two runs of it can be compared by."""

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from typing import Any
from uuid import UUID

from app.core.db import Model
from app.core.models import OutboxRow
from tests.living import Living

# What a repetition may change: how often somebody asked or was told, and what led to the end.
BY_THE_WAY = {
    "budgets", "clicks", "connects", "deliveries", "idempotency_keys", "lanes", "paces", "revocations", "tickets",
}  # fmt: skip
# What Zoom last said of the registrants of a meeting that is gone depends on which of them was taken away first.
READ = {
    "registrants": "SELECT registrants.* FROM registrants JOIN meetings ON meetings.id = registrants.meeting_id"
    " WHERE meetings.state <> 'retired'"
}
COLUMNS_BY_THE_WAY = {"orphan_markers", "generation", "notified_at"}
# How many mails changed a calendar, and what it showed before the last one.
COLUMNS_OF_FLAPS = {"invite_sequence", "invite_before"}
NAMES_MADE_ANEW = {"marker", "join_link", "unsubscribe_link", "zoom_registrant_id"}
PROMISED_TIMES = {"starts_at", "ends_at"}
_NAMES = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # ids of ours
    r"|kindryn:[\w-]+"  # the marker of a meeting
    r"|\b\d{9,}\b"  # ids of Zoom's
    r"|(?<=/join/)[\w-]+"
)
_NAMES_OF_ZOOM = {
    "id", "uuid", "created_at", "password", "pwd", "registration_key", "registration_url", "join_url", "tk", "pin",
}  # fmt: skip


@dataclass(frozen=True)
class End:
    """The tables, Zoom's meetings and grants, and the mails: each a list in an order that does not depend on time."""

    tables: dict[str, list[str]]
    zoom: dict[str, list[str]]
    mails: list[str]

    def differences(self, other: "End") -> list[str]:
        """What is here and not there, and the other way round, one line each."""
        mine, theirs = self._lines(), other._lines()
        return [f"- {line}" for line in mine - theirs] + [f"+ {line}" for line in theirs - mine]

    def _lines(self) -> set[str]:
        places = {**self.tables, **self.zoom, "mails": self.mails}
        return {f"{place} {lines.count(line)} x {line}" for place, lines in places.items() for line in lines}


async def read_end(living: Living, *, flaps: bool = False) -> End:
    """The end as it stands now; where somebody `flaps`, of mails only the last to each calendar. Raises AssertionError
    where one mail came in two versions."""
    left_out = COLUMNS_BY_THE_WAY | (COLUMNS_OF_FLAPS if flaps else set())
    tables = {}
    for table in Model.metadata.sorted_tables:
        if table.name not in BY_THE_WAY | {OutboxRow.__tablename__}:
            rows = await living.held.db.hot.fetch(READ.get(table.name, f'SELECT * FROM "{table.name}"'))  # noqa: S608 - our own names
            kept = ({name: value for name, value in row.items() if name not in left_out} for row in rows)
            tables[table.name] = sorted(map(_told, kept))
    dead = await living.held.db.hot.fetch("SELECT reaction, reason FROM outbox WHERE dead_at IS NOT NULL")
    tables["dead rows"] = sorted(_told(dict(row)) for row in dead)
    state = (await living.zoom.get("/simulator/state")).json()
    zoom = {
        "meetings at Zoom": sorted(_told(_without(meeting)) for meeting in state["meetings"]),
        "live grants": sorted(_told({"user": grant["user_id"]}) for grant in state["grants"] if grant["alive"]),
    }
    return End(tables, zoom, _last_mails(living) if flaps else _mails(living))


def _last_mails(living: Living) -> list[str]:
    """What the mails left in each calendar: the one of the highest SEQUENCE says it."""
    shown: dict[str, tuple[int, str]] = {}
    for mail in living.mailbox.all():
        said = dict(line.split(":", 1) for line in _calendar_of(mail.message) if ":" in line)
        if said:
            state = (int(said["SEQUENCE"]), f"{said['METHOD']} {said['SUMMARY']}")
            shown[said["UID"]] = max(state, shown.get(said["UID"], state))
    return sorted(_plain(said) for _, said in shown.values())


def _mails(living: Living) -> list[str]:
    """Every mail once: a repeated one has the same Message-ID and says the same."""
    versions: dict[str, set[str]] = defaultdict(set)
    for mail in living.mailbox.all():
        message = mail.message
        said = _plain(f"{message['To']} {message['Subject']} {sorted(_calendar_of(message))}")
        versions[str(message["Message-ID"])].add(said)
    assert all(len(said) == 1 for said in versions.values()), f"one Message-ID, two mails: {versions}"
    return sorted(said for (said,) in versions.values())


def _calendar_of(message: EmailMessage) -> list[str]:
    """The lines of a mail's calendar that say what it does to which entry."""
    parts = (part for part in message.walk() if part.get_content_type() == "text/calendar")
    text = next((part.get_content() for part in parts), "")
    return [line for line in text.splitlines() if line.startswith(("METHOD", "SEQUENCE", "SUMMARY", "UID"))]


def _without(meeting: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in meeting.items() if name not in _NAMES_OF_ZOOM}
    kept["registrants"] = sorted(
        _told({name: value for name, value in registrant.items() if name not in _NAMES_OF_ZOOM})
        for registrant in meeting["registrants"]
    )
    return kept


def _told(row: dict[str, Any]) -> str:
    told = {name: _value(name, value) for name, value in sorted(row.items()) if name not in COLUMNS_BY_THE_WAY}
    return _plain(str(told))


def _value(name: str, value: Any) -> Any:
    if isinstance(value, datetime) and name not in PROMISED_TIMES:
        return "a time"
    if isinstance(value, bytes):
        return "sealed"
    if name == "last_error" and value and "possible-orphan" in str(value):
        return None  # told on purpose where a creation stayed without an answer; orphans themselves are seen at Zoom
    if isinstance(value, UUID) or (isinstance(value, int) and value > 10**8):
        return "an id"
    return "a name" if value is not None and name in NAMES_MADE_ANEW else value


def _plain(text: str) -> str:
    return _NAMES.sub("*", text)
