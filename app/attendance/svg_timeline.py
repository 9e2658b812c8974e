"""Attendance as an SVG picture of who was there when: one row per person, one bar per session. Pure.

All text that people typed is escaped. The picture contains no style and no script, so it can be shown under
`Content-Security-Policy: default-src 'none'; sandbox`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import NamedTuple
from zoneinfo import ZoneInfo

from app.attendance.report import AttendanceReport
from app.attendance.sessions import Attendance, Interval
from app.attendance.threshold import attended
from app.core import text_cleaning

NAME_WIDTH, CHART_WIDTH, ROW_HEIGHT, TOP_MARGIN = 220, 720, 22, 40  # pixels
MAX_NAME_LENGTH = 30  # characters; about `NAME_WIDTH` pixels
CERTAIN_COLOR, LIKELY_COLOR, UNKNOWN_COLOR = "#2f7d4f", "#7aa98b", "#9a9a9a"
_TICK_STEPS = tuple(timedelta(minutes=minutes) for minutes in (5, 10, 15, 30, 60, 120, 240, 480, 1440))
MAX_TICKS = 12  # more labels would overlap


class ChartRow(NamedTuple):
    """One person's bars."""

    name: str
    color: str
    bars: Sequence[Interval]
    attended: bool


def to_svg(report: AttendanceReport) -> str:
    """Return an SVG document; times of day are in the event's time zone."""
    event = report.event
    rows = _rows(report)
    intervals = [*report.open_intervals, *(bar for row in rows for bar in row.bars)]
    full_range = Interval(
        min([event.starts_at, *(interval.start for interval in intervals)]),
        max([event.ends_at, *(interval.end for interval in intervals)]),
    )
    width = NAME_WIDTH + CHART_WIDTH + 20
    height = TOP_MARGIN + ROW_HEIGHT * max(len(rows), 1) + 10
    title = f"{event.title}: who was there"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"',
        f' viewBox="0 0 {width} {height}" font-size="12" role="img">',
        f"<title>{_escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *_ticks(full_range, ZoneInfo(event.timezone), height),
        *(
            _bar(interval, full_range, TOP_MARGIN - 8, 4, "#c9d8e6", "The meeting was open")
            for interval in report.open_intervals
        ),
    ]
    for number, row in enumerate(rows):
        y = TOP_MARGIN + ROW_HEIGHT * number
        parts.append(f'<text x="4" y="{y + 15}" fill="#222222">{_escape(_truncate(row.name))}</text>')
        title = row.name if row.attended else f"{row.name}: not long enough to have attended"
        parts += [
            _bar(bar, full_range, y + 5, ROW_HEIGHT - 10, row.color, title, pale=not row.attended) for bar in row.bars
        ]
    if not rows:
        parts.append(f'<text x="4" y="{TOP_MARGIN + 15}" fill="#222222">Nobody was seen.</text>')
    return "\n".join([*parts, "</svg>\n"])


def _rows(report: AttendanceReport) -> list[ChartRow]:
    known = [
        ChartRow(
            each.name or each.member_id,
            CERTAIN_COLOR if all(match.confidence == "certain" for match in each.matches.values()) else LIKELY_COLOR,
            [Interval(session.start, session.end) for session in each.attendance.sessions],
            _attended(each.attendance, report),
        )
        for each in report.attendees
    ]
    unknown = [
        ChartRow(
            f"? {each.session.name or 'somebody'}",
            UNKNOWN_COLOR,
            [Interval(session.start, session.end) for session in each.attendance.sessions],
            _attended(each.attendance, report),
        )
        for each in report.unknown
    ]
    return known + unknown


def _attended(attendance: Attendance, report: AttendanceReport) -> bool:
    return attended(attendance.minutes, attendance.shown_share, report.threshold)


def _ticks(full_range: Interval, zone: ZoneInfo, height: int) -> Iterator[str]:
    """Yield a vertical line with the time of day at regular intervals."""
    length = full_range.end - full_range.start
    step = next((step for step in _TICK_STEPS if length / step <= MAX_TICKS), length / MAX_TICKS)
    at = full_range.start
    while at <= full_range.end:
        x = _x(at, full_range)
        yield f'<line x1="{x}" y1="{TOP_MARGIN - 16}" x2="{x}" y2="{height}" stroke="#e4e4e4"/>'
        yield f'<text x="{x}" y="14" fill="#555555" text-anchor="middle">{at.astimezone(zone):%H:%M}</text>'
        at += step


def _bar(
    interval: Interval, full_range: Interval, y: int, height: int, color: str, title: str, *, pale: bool = False
) -> str:
    start, end = _x(interval.start, full_range), _x(interval.end, full_range)
    width = max(round(end - start, 1), 1.0)
    shade = ' fill-opacity="0.35"' if pale else ""
    return (
        f'<rect x="{start}" y="{y}" width="{width}" height="{height}" fill="{color}"{shade}>'
        f"<title>{_escape(title)}</title></rect>"
    )


def _x(at: datetime, full_range: Interval) -> float:
    return round(NAME_WIDTH + CHART_WIDTH * ((at - full_range.start) / (full_range.end - full_range.start)), 1)


def _truncate(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…"


def _escape(text: str) -> str:
    """Return text escaped for XML 1.0, which allows no control characters except white space (section 2.2)."""
    return escape(text_cleaning.single_line(text))
