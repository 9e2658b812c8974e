"""Settings of a community for all its events: reminder times and the attendance threshold, with defaults."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from app.commands import PlanReminders
from app.core.database import Tx
from app.events.models import CommunitySettings, Event
from app.web import Schema

MINUTES_DESCRIPTION = (
    "Minutes before the start, 5 to 10080 (a week), three different ones at the most; none for no reminders"
)


def _require_distinct(minutes: list[int]) -> list[int]:
    if len(set(minutes)) < len(minutes):
        raise ValueError("must be different from each other")
    return sorted(minutes, reverse=True)


Minutes = Annotated[
    list[Annotated[int, Field(strict=True, ge=5, le=7 * 24 * 60)]],
    Field(max_length=3, description=MINUTES_DESCRIPTION, examples=[[1440, 60]]),
    AfterValidator(_require_distinct),
]


class Reminders(Schema):
    """When members who are going get a reminder by mail."""

    minutes_before: Minutes = Field(default=[60])


LeastMinutes = Annotated[
    int | None,
    Field(strict=True, ge=1, le=24 * 60, description="Whole minutes inside that are enough; null: none", examples=[20]),
]
LeastShare = Annotated[
    float | None,
    Field(gt=0, le=1, description="A share, as attendance shows it, that is enough; null: none", examples=[0.5]),
]


class AttendanceThreshold(Schema):
    """How long somebody must have been inside to count as having attended.

    If both limits are set, either is enough. If neither is set, everybody who was inside attended.
    """

    minutes: LeastMinutes = None
    share: LeastShare = None


class Settings(Schema):
    """Settings that hold for all events of a community."""

    reminders: Reminders = Reminders()
    attendance: AttendanceThreshold = AttendanceThreshold()


class ReminderChanges(TypedDict, total=False):
    """Changes to the reminders. A field that is left out stays as it is."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # how pydantic configures a TypedDict

    minutes_before: Minutes


class AttendanceChanges(TypedDict, total=False):
    """Changes to the attendance threshold. A field that is left out stays as it is."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # how pydantic configures a TypedDict

    minutes: LeastMinutes
    share: LeastShare


class CommunitySettingsChanges(TypedDict, total=False):
    """Changes to the settings. A field that is left out stays as it is."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # how pydantic configures a TypedDict

    reminders: ReminderChanges
    attendance: AttendanceChanges


async def get(tx: Tx, community_id: str) -> Settings:
    """Return the settings of a community, with the defaults where the admins chose nothing."""
    return _from_row(await tx.session.get(CommunitySettings, community_id))


async def reminders(tx: Tx, community_id: str) -> tuple[list[int], datetime | None]:
    """Return the minutes before the start at which people are reminded, and when these were last changed."""
    row = await tx.session.get(CommunitySettings, community_id)
    return _from_row(row).reminders.minutes_before, row.reminders_changed_at if row else None


async def change(tx: Tx, community_id: str, changes: CommunitySettingsChanges) -> Settings:
    """Change the settings of a community. New reminder times apply to every upcoming event."""
    row = await _locked(tx, community_id)
    before = _from_row(row)
    after = Settings.model_validate(
        {
            "reminders": before.reminders.model_dump() | changes.get("reminders", {}),
            "attendance": before.attendance.model_dump() | changes.get("attendance", {}),
        }
    )
    if after.reminders != before.reminders:
        row.reminders_changed_at = tx.now
        for event_id in await tx.session.scalars(_upcoming_events(community_id, tx.now)):
            tx.record(PlanReminders(event_id))
    row.settings = after.model_dump()
    await tx.session.flush()
    return after


async def _locked(tx: Tx, community_id: str) -> CommunitySettings:
    """Return the row of the community, locked; insert it first if it is missing."""
    await tx.session.execute(
        insert(CommunitySettings).values(community_id=community_id, settings={}).on_conflict_do_nothing()
    )
    return await tx.session.get_one(CommunitySettings, community_id, with_for_update=True, populate_existing=True)


def _from_row(row: CommunitySettings | None) -> Settings:
    return Settings.model_validate(row.settings if row else {})


def _upcoming_events(community_id: str, now: datetime) -> Any:
    return select(Event.id).where(
        Event.community_id == community_id, Event.cancelled_at.is_(None), Event.starts_at > now
    )
