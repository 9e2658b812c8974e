"""Spaces: parts of a community that hold events and give them shared meeting settings."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from pydantic import ConfigDict, Field
from sqlalchemy import func, select, tuple_
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from app.accounts import quotas
from app.accounts.models import Host
from app.core.database import Tx
from app.core.errors import Problem, not_found
from app.events.event_input import Description, Title
from app.events.models import Event, Space
from app.facts import EventChanged
from app.web import Schema

# Spaces of one community. Nobody can delete a space, so the table needs a limit.
MAX_SPACES = 200
RECORD = "Record to Zoom's cloud where the host's plan allows it"
WAITING_ROOM = "People wait until the host lets them in"
MUTE = "People come in muted"
VIDEO = "People come in with their camera on"


class MeetingSettings(Schema):
    """Settings for the Zoom meetings of a space's events. The defaults apply to events without a space."""

    record: bool = Field(default=True, strict=True, description=RECORD, examples=[True])
    waiting_room: bool = Field(default=False, strict=True, description=WAITING_ROOM, examples=[False])
    mute_upon_entry: bool = Field(default=False, strict=True, description=MUTE, examples=[True])
    participant_video: bool = Field(default=False, strict=True, description=VIDEO, examples=[False])


class SettingsChanges(TypedDict, total=False):
    """Changes to the meeting settings. A field that is left out stays as it is."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # how pydantic configures a TypedDict

    record: Annotated[bool, Field(strict=True, description=RECORD, examples=[False])]
    waiting_room: Annotated[bool, Field(strict=True, description=WAITING_ROOM, examples=[True])]
    mute_upon_entry: Annotated[bool, Field(strict=True, description=MUTE, examples=[True])]
    participant_video: Annotated[bool, Field(strict=True, description=VIDEO, examples=[False])]


class SpaceChanges(TypedDict, total=False):
    """Changes to a space. A field that is left out stays as it is."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # how pydantic configures a TypedDict

    name: Annotated[Title, Field(examples=["Evening circles"])]
    description: Annotated[Description, Field(examples=["Every Wednesday."])]
    settings: SettingsChanges


class NewSpace(Schema):
    """A space to create."""

    name: Title = Field(examples=["Reviewer events"])
    description: Description = Field(default="", examples=["Where reviewers try things."])
    settings: MeetingSettings = MeetingSettings()


def settings_of(space: Space | None) -> MeetingSettings:
    """Return the meeting settings of a space; the defaults if there is no space."""
    return MeetingSettings.model_validate(space.settings if space else {})


async def get(tx: Tx, community_id: str, space_id: UUID) -> Space | None:
    """Return a space of this community; None if it has no such space."""
    space = await tx.session.get(Space, space_id)
    return space if space and space.community_id == community_id else None


async def exists_in(tx: Tx, space_id: UUID, communities: Sequence[str] | None) -> bool:
    """Return whether one of these communities has the space; with None, whether any has."""
    space = await tx.session.get(Space, space_id)
    return space is not None and (communities is None or space.community_id in communities)


async def list_in_community(
    tx: Tx, community_id: str, limit: int, after: tuple[datetime, UUID] | None
) -> Sequence[Space]:
    """Return up to `limit` spaces by creation time, starting after the (time, id) `after`."""
    statement = select(Space).where(Space.community_id == community_id)
    if after is not None:
        statement = statement.where(tuple_(Space.created_at, Space.id) > tuple_(*after))
    return (await tx.session.scalars(statement.order_by(Space.created_at, Space.id).limit(limit))).all()


async def create(tx: Tx, community_id: str, new_space: NewSpace) -> Space:
    """Create a space. Raises the problem `too-many-spaces`."""
    await quotas.lock_community(tx, community_id)
    count = select(func.count()).select_from(Space).where(Space.community_id == community_id)
    if (await tx.session.scalar(count) or 0) >= MAX_SPACES:
        raise Problem("too-many-spaces", f"A community has {MAX_SPACES} spaces at most. Use one that is there.")
    space = Space(
        id=uuid4(),
        community_id=community_id,
        name=new_space.name,
        description=new_space.description,
        settings=new_space.settings.model_dump(),
        created_at=tx.now,
    )
    tx.session.add(space)
    await tx.session.flush()
    return space


async def change(tx: Tx, community_id: str, space_id: UUID, changes: SpaceChanges) -> Space:
    """Change a space of this community. Raises a 404 if it has no such space.

    New meeting settings apply to every upcoming event of the space.
    """
    space = await tx.session.get(Space, space_id, with_for_update=True, populate_existing=True)
    if space is None or space.community_id != community_id:
        raise not_found("space")
    space.name = changes.get("name", space.name)
    space.description = changes.get("description", space.description)
    settings: dict[str, Any] = settings_of(space).model_copy(update=dict(changes.get("settings", {}))).model_dump()
    if settings != settings_of(space).model_dump():
        space.settings = settings
        await _record_change(tx, space)
    await tx.session.flush()
    return space


async def _record_change(tx: Tx, space: Space) -> None:
    """Record a change of every upcoming event on Zoom in the space, so that its meeting is synced."""
    upcoming = select(Event.id, Host.account_id).join(Host, Host.id == Event.host_id).where(
        Event.space_id == space.id, Event.cancelled_at.is_(None), Event.ends_at > tx.now
    )  # fmt: skip
    for event_id, account_id in await tx.session.execute(upcoming):
        tx.record(EventChanged(event_id, account_id))
