"""A picture of who was there when: one line a person, one bar a stay. Pure; everything people typed is escaped.

It holds no style and no script, so it can be shown under `Content-Security-Policy: default-src 'none'; sandbox`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import NamedTuple
from zoneinfo import ZoneInfo

from app.attendance.fold import Attendance, Span
from app.attendance.report import Report
from app.attendance.threshold import attended
from app.core import cleaning

NAMES, WIDTH, LINE, TOP = 220, 720, 22, 40  # pixels
LONGEST_NAME = 30  # letters
KNOWN, LIKELY, UNKNOWN = "#2f7d4f", "#7aa98b", "#9a9a9a"
_STEPS = tuple(timedelta(minutes=minutes) for minutes in (5, 10, 15, 30, 60, 120, 240, 480, 1440))
MOST_MARKS = 12


class Line(NamedTuple):
    """One person's bars."""

    name: str
    color: str
    bars: Sequence[Span]
    attended: bool


def svg_of(report: Report) -> str:
    """An SVG document; times are those of the event's time zone."""
    event, lines = report.event, _lines(report)
    spans = [*report.held, *(bar for line in lines for bar in line.bars)]
    whole = Span(
        min([event.starts_at, *(span.begins for span in spans)]), max([event.ends_at, *(span.ends for span in spans)])
    )
    width, height = NAMES + WIDTH + 20, TOP + LINE * max(len(lines), 1) + 10
    title = f"{event.title}: who was there"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"',
        f' viewBox="0 0 {width} {height}" font-size="12" role="img">',
        f"<title>{_text(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *_marks(whole, ZoneInfo(event.timezone), height),
        *(_bar(span, whole, TOP - 8, 4, "#c9d8e6", "The meeting was open") for span in report.held),
    ]
    for number, line in enumerate(lines):
        y = TOP + LINE * number
        parts.append(f'<text x="4" y="{y + 15}" fill="#222222">{_text(_short(line.name))}</text>')
        title = line.name if line.attended else f"{line.name}: not long enough to have attended"
        parts += [_bar(bar, whole, y + 5, LINE - 10, line.color, title, pale=not line.attended) for bar in line.bars]
    if not lines:
        parts.append(f'<text x="4" y="{TOP + 15}" fill="#222222">Nobody was seen.</text>')
    return "\n".join([*parts, "</svg>\n"])


def _lines(report: Report) -> list[Line]:
    known = [
        Line(
            each.name or each.member_id,
            KNOWN if all(match.sure == "certain" for match in each.matches.values()) else LIKELY,
            [Span(stay.begins, stay.ends) for stay in each.attendance.stays],
            _attended(each.attendance, report),
        )
        for each in report.attendees
    ]
    unknown = [
        Line(
            f"? {each.session.name or 'somebody'}",
            UNKNOWN,
            [Span(stay.begins, stay.ends) for stay in each.attendance.stays],
            _attended(each.attendance, report),
        )
        for each in report.unknown
    ]
    return known + unknown


def _attended(was: Attendance, report: Report) -> bool:
    return attended(was.minutes, was.shown_share, report.threshold)


def _marks(whole: Span, zone: ZoneInfo, height: int) -> Iterator[str]:
    """A line and a time of day at round moments."""
    length = whole.ends - whole.begins
    step = next((step for step in _STEPS if length / step <= MOST_MARKS), length / MOST_MARKS)
    at = whole.begins
    while at <= whole.ends:
        x = _x(at, whole)
        yield f'<line x1="{x}" y1="{TOP - 16}" x2="{x}" y2="{height}" stroke="#e4e4e4"/>'
        yield f'<text x="{x}" y="14" fill="#555555" text-anchor="middle">{at.astimezone(zone):%H:%M}</text>'
        at += step


def _bar(span: Span, whole: Span, y: int, height: int, color: str, title: str, *, pale: bool = False) -> str:
    begins, ends = _x(span.begins, whole), _x(span.ends, whole)
    width = max(round(ends - begins, 1), 1.0)
    shade = ' fill-opacity="0.35"' if pale else ""
    return (
        f'<rect x="{begins}" y="{y}" width="{width}" height="{height}" fill="{color}"{shade}>'
        f"<title>{_text(title)}</title></rect>"
    )


def _x(at: datetime, whole: Span) -> float:
    return round(NAMES + WIDTH * ((at - whole.begins) / (whole.ends - whole.begins)), 1)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _text(text: str) -> str:
    """Text in XML 1.0, which has no control characters but white space (section 2.2)."""
    return escape(cleaning.line(text))
