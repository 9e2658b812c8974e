"""The occurrences of a recurring meeting (contract 5.1: `recurrence`). Pure."""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from app.simulator.clock import epoch_ms, parse_time
from app.simulator.state import Json, Occurrence

MAX_OCCURRENCES = 50
_MAX_DAYS = 366 * 10  # after which the search for occurrences ends


def occurrences(rule: Json, start: datetime, duration: int, zone: str) -> list[Occurrence]:
    """Return at most fifty occurrences, at the same local time in `zone` on both sides of a clock change.

    `end_times` is their number, where 0 means without end. `end_date_time` is the last moment. Without either there is
    one.
    """
    local = start.astimezone(ZoneInfo(zone))
    until = parse_time(rule["end_date_time"], "UTC") if "end_date_time" in rule else None
    count = MAX_OCCURRENCES if until is not None else rule.get("end_times", 1) or MAX_OCCURRENCES
    found: list[Occurrence] = []
    for day in _days(rule, local.date()):
        moment = datetime.combine(day, local.time(), local.tzinfo).astimezone(UTC)
        if len(found) >= min(count, MAX_OCCURRENCES) or (until is not None and moment > until):
            break
        found.append(Occurrence(str(epoch_ms(moment)), moment, duration))
    return found


def _days(rule: Json, first: date) -> Iterator[date]:
    interval = rule.get("repeat_interval", 1)
    for offset in range(_MAX_DAYS):
        day = first + timedelta(days=offset)
        if (
            (rule["type"] == 1 and offset % interval == 0)
            or (rule["type"] == 2 and _weekly(rule, first, day, interval))
            or (rule["type"] == 3 and _monthly(rule, first, day, interval))
        ):
            yield day


def _sunday_first(day: date) -> int:
    return day.isoweekday() % 7 + 1


def _weekly(rule: Json, first: date, day: date, interval: int) -> bool:
    week_begins = first - timedelta(days=_sunday_first(first) - 1)
    return (day - week_begins).days // 7 % interval == 0 and str(_sunday_first(day)) in rule["weekly_days"].split(",")


def _monthly(rule: Json, first: date, day: date, interval: int) -> bool:
    if ((day.year - first.year) * 12 + day.month - first.month) % interval:
        return False
    if "monthly_week" not in rule:
        return bool(day.day == rule.get("monthly_day", 1))
    last_week = day.day + 7 > monthrange(day.year, day.month)[1]
    right_week = last_week if rule["monthly_week"] == -1 else (day.day - 1) // 7 + 1 == rule["monthly_week"]
    return bool(right_week and _sunday_first(day) == rule.get("monthly_week_day", 1))
