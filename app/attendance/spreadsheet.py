"""Attendance as a file for spreadsheets: CSV (RFC 4180) in UTF-8 with a byte order mark, without which Excel guesses
another encoding. Pure."""

import csv
import io
from collections.abc import Iterator
from datetime import datetime

from app.attendance.views import AttendanceView, MissingView

COLUMNS = (
    *("status", "member_id", "name", "email", "role", "joined_at", "left_at", "minutes", "share", "sessions"),
    *("sure", "why", "clicked_at", "attended"),
)
# What makes a spreadsheet run a cell, also in its full-width form (OWASP, "CSV Injection").
_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_of(report: AttendanceView) -> bytes:
    """One row a person, or unknown session: `present`, `unknown`, `clicked` or `no_show`."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in _rows(report):
        writer.writerow([defused(row.get(column)) for column in COLUMNS])
    return out.getvalue().encode("utf-8-sig")


def _rows(report: AttendanceView) -> Iterator[dict[str, object]]:
    for each in report.items:
        found = each.model_dump(exclude={"sessions", "heard"})
        why = dict.fromkeys(session.why for session in each.sessions)
        yield {**found, "status": "present", "sessions": len(each.sessions), "why": " ".join(why)}
    for stray in report.unknown:
        role = "host" if stray.is_host else None
        found = stray.model_dump(exclude={"session_id", "is_host", "suggestion"})
        yield {**found, "status": "unknown", "role": role, "sessions": 1, "sure": "unknown"}
    coming = {each.member_id for each in report.no_shows}
    yield from (_missing("clicked", each) for each in report.clicked_never_seen if each.member_id not in coming)
    yield from (_missing("no_show", each) for each in report.no_shows)


def _missing(status: str, who: MissingView) -> dict[str, object]:
    why = "Seen in the waiting room only." if who.waited else None
    return {
        **who.model_dump(exclude={"waited"}),
        "status": status,
        "minutes": 0,
        "attended": False,
        "sessions": 0,
        "why": why,
    }


def defused(value: object) -> str:
    """A cell as text that no spreadsheet takes for a formula: what could be one begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    text = str(value)
    return f"'{text}" if text.startswith(_RUNS) or text.lstrip().startswith(_RUNS) else text
