"""Attendance as CSV (RFC 4180) for spreadsheets. Pure.

UTF-8 with a byte order mark: without it Excel guesses another encoding.
"""

import csv
import io
from collections.abc import Iterator
from datetime import datetime

from app.attendance.schemas import AttendanceView, MissingView

COLUMNS = (
    *("status", "member_id", "name", "email", "role", "joined_at", "left_at", "minutes", "share", "sessions"),
    *("confidence", "explanation", "clicked_at", "attended"),
)
# A spreadsheet runs a cell that begins with one of these, also in full-width form (OWASP, "CSV Injection").
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def to_csv(report: AttendanceView) -> bytes:
    """Return one row for each person or unknown session: `present`, `unknown`, `clicked` or `no_show`."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in _rows(report):
        writer.writerow([escape_formula(row.get(column)) for column in COLUMNS])
    return out.getvalue().encode("utf-8-sig")


def _rows(report: AttendanceView) -> Iterator[dict[str, object]]:
    for each in report.items:
        cells = each.model_dump(exclude={"sessions", "complete"})
        explanations = dict.fromkeys(session.explanation for session in each.sessions)
        yield {**cells, "status": "present", "sessions": len(each.sessions), "explanation": " ".join(explanations)}
    for unknown in report.unknown:
        role = "host" if unknown.is_host else None
        cells = unknown.model_dump(exclude={"session_id", "is_host", "suggestion"})
        yield {**cells, "status": "unknown", "role": role, "sessions": 1, "confidence": "unknown"}
    coming = {each.member_id for each in report.no_shows}
    yield from (_absent_row("clicked", each) for each in report.clicked_never_seen if each.member_id not in coming)
    yield from (_absent_row("no_show", each) for each in report.no_shows)


def _absent_row(status: str, absentee: MissingView) -> dict[str, object]:
    explanation = "Seen in the waiting room only." if absentee.waited else None
    return {
        **absentee.model_dump(exclude={"waited"}),
        "status": status,
        "minutes": 0,
        "attended": False,
        "sessions": 0,
        "explanation": explanation,
    }


def escape_formula(value: object) -> str:
    """Return a cell as text that no spreadsheet runs: a possible formula gets an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) or text.lstrip().startswith(_FORMULA_PREFIXES) else text
