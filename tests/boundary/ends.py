"""What is left when a path is at its end, in words that two runs of it can be compared by."""

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
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
NAMES_MADE_ANEW = {"marker", "join_link", "zoom_registrant_id"}
PROMISED_TIMES = {"starts_at", "ends_at"}
_NAMES = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # ids of ours
    r"|kindryn:[\w-]{16}"  # the marker of a meeting
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


async def read_end(living: Living) -> End:
    """The end as it stands now. Raises AssertionError where one mail came in two versions."""
    tables = {}
    for table in Model.metadata.sorted_tables:
        if table.name not in BY_THE_WAY | {OutboxRow.__tablename__}:
            rows = await living.held.db.hot.fetch(READ.get(table.name, f'SELECT * FROM "{table.name}"'))  # noqa: S608 - our own names
            tables[table.name] = sorted(_told(dict(row)) for row in rows)
    dead = await living.held.db.hot.fetch("SELECT reaction, reason FROM outbox WHERE dead_at IS NOT NULL")
    tables["dead rows"] = sorted(_told(dict(row)) for row in dead)
    state = (await living.zoom.get("/simulator/state")).json()
    zoom = {
        "meetings at Zoom": sorted(_told(_without(meeting)) for meeting in state["meetings"]),
        "live grants": sorted(_told({"user": grant["user_id"]}) for grant in state["grants"] if grant["alive"]),
    }
    return End(tables, zoom, _mails(living))


def _mails(living: Living) -> list[str]:
    """Every mail once: a repeated one has the same Message-ID and says the same."""
    versions: dict[str, set[str]] = defaultdict(set)
    for mail in living.mailbox.all():
        message = mail.message
        calendar = message.get_body(("calendar",)) or next(
            (part for part in message.walk() if part.get_content_type() == "text/calendar"), None
        )
        text = calendar.get_content() if calendar is not None else ""
        lines = [line for line in text.splitlines() if line.startswith(("METHOD", "SEQUENCE", "SUMMARY", "UID"))]
        versions[str(message["Message-ID"])].add(_plain(f"{message['To']} {message['Subject']} {sorted(lines)}"))
    assert all(len(said) == 1 for said in versions.values()), f"one Message-ID, two mails: {versions}"
    return sorted(said for (said,) in versions.values())


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
