"""What people say of an event, and what it comes to: the terms of an event. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from app.core.cleaning import seen
from app.core.errors import wrong_field
from app.events import schedule
from app.events.models import Event

# One line of what one sees; the database takes no NUL, and no heading needs a line break.
Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
    AfterValidator(seen),
]
Description = Annotated[str, StringConstraints(max_length=20_000, pattern=r"^[^\x00]*$")]
Delivery = Literal["native", "zoom"]
TITLE = "What it is called, in one line"
STARTS_AT = "When it begins: with an offset an instant, without one the time on the wall in `timezone`. Not in the past"
ENDS_AT = "When it ends, said like `starts_at`: later than that, by 24 hours at the most"
TIMEZONE = "The zone it is planned in, by its IANA name. Changed alone, it moves nothing"
SOME_ID = "0197f0a2-6c1b-7a40-8a51-0d7f3c2b9e11"
WHEN = ["2027-03-01T19:00:00Z"]


class _Said(TypedDict, total=False):
    space_id: Annotated[UUID | None, Field(description="The space that holds it; null for none", examples=[SOME_ID])]
    description: Annotated[Description, Field(examples=["Bring a cup of tea."])]
    is_virtual: Annotated[
        bool, Field(strict=True, description="Turned off, it takes the delivery away", examples=[True])
    ]
    delivery_mode: Annotated[
        Delivery | None,
        Field(description="Where a virtual event runs; saying it makes the event virtual", examples=["zoom"]),
    ]
    host_id: Annotated[
        UUID | None, Field(description="Who owns the Zoom meeting; needed on Zoom, and only there", examples=[SOME_ID])
    ]
    alternative_hosts: Annotated[
        list[UUID],
        Field(
            max_length=20,
            description="Licensed hosts of the same Zoom account who may start it too, from here or signed in at Zoom",
            examples=[[]],
        ),
    ]
    capacity: Annotated[
        int | None, Field(strict=True, ge=1, le=1_000_000, description="Places; null for any number", examples=[25])
    ]


class NewEvent(_Said):
    """An event to be made. What is left out is empty, unlimited or off."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # how pydantic configures a TypedDict

    title: Annotated[Title, Field(description=TITLE, examples=["Evening circle"])]
    starts_at: Annotated[schedule.LocalTime, Field(description=STARTS_AT, examples=WHEN)]
    ends_at: Annotated[schedule.LocalTime, Field(description=ENDS_AT, examples=["2027-03-01T20:30:00Z"])]
    timezone: Annotated[
        str, AfterValidator(schedule.known_zone), Field(description=TIMEZONE, examples=["Europe/Berlin"])
    ]


class EventChanges(_Said, total=False):
    """What is to change of an event; what is left out stays. Null is a value, and only where a field can be empty."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # how pydantic configures a TypedDict

    title: Annotated[Title, Field(description=TITLE, examples=["Evening circle, again"])]
    starts_at: Annotated[schedule.LocalTime, Field(description=STARTS_AT, examples=WHEN)]
    ends_at: Annotated[schedule.LocalTime, Field(description=ENDS_AT, examples=["2027-03-01T20:30:00Z"])]
    timezone: Annotated[
        str, AfterValidator(schedule.known_zone), Field(description=TIMEZONE, examples=["Europe/Berlin"])
    ]


@dataclass(frozen=True)
class Terms:
    """All that people can say of an event, complete and consistent; times in UTC."""

    title: str
    starts_at: datetime
    ends_at: datetime
    timezone: str
    space_id: UUID | None = None
    description: str = ""
    is_virtual: bool = False
    delivery_mode: str | None = None
    host_id: UUID | None = None
    alternative_hosts: tuple[UUID, ...] = ()
    capacity: int | None = None

    @classmethod
    def of(cls, event: Event) -> Self:
        """The terms an event has now."""
        stored = {field.name: getattr(event, field.name) for field in fields(cls)}
        return cls(**{**stored, "alternative_hosts": tuple(event.alternative_hosts)})

    def columns(self) -> dict[str, Any]:
        """The terms as the columns of an event."""
        stored = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**stored, "alternative_hosts": list(self.alternative_hosts)}

    def moved(self, other: Self) -> bool:
        """Whether `other` is held at another time."""
        return (self.starts_at, self.ends_at) != (other.starts_at, other.ends_at)

    def carried_otherwise(self, other: Self) -> bool:
        """Whether `other` runs elsewhere, or under another host."""
        return (self.delivery_mode, self.host_id) != (other.delivery_mode, other.host_id)


def drafted(said: NewEvent) -> Terms:
    """The terms of a new event; a 422 names the field that cannot be."""
    named = {**said, "alternative_hosts": tuple(said.get("alternative_hosts", ()))}
    return _settled(Terms(**named), said)  # type: ignore[arg-type]  # the keys of NewEvent are the fields of Terms


def changed(before: Terms, said: EventChanges) -> Terms:
    """`before` with what was said; a 422 names the field that cannot be."""
    named: dict[str, Any] = dict(said)
    if "alternative_hosts" in named:
        named["alternative_hosts"] = tuple(named["alternative_hosts"])
    return _settled(replace(before, **named), said)


def _settled(wanted: Terms, said: Mapping[str, Any]) -> Terms:
    starts_at = schedule.moment(wanted.starts_at, wanted.timezone, "starts_at")
    ends_at = schedule.moment(wanted.ends_at, wanted.timezone, "ends_at")
    schedule.check_span(starts_at, ends_at)
    return _delivered(replace(wanted, starts_at=starts_at, ends_at=ends_at), said)


def _delivered(wanted: Terms, said: Mapping[str, Any]) -> Terms:
    if said.get("delivery_mode") and not said.get("is_virtual", True):
        raise wrong_field("delivery_mode", "only a virtual event has one: leave it out, or turn is_virtual on")
    is_virtual = wanted.is_virtual or bool(said.get("delivery_mode"))
    if is_virtual and said.get("delivery_mode", "native") is None:
        raise wrong_field("delivery_mode", "a virtual event runs somewhere: native or zoom")
    delivery_mode = (wanted.delivery_mode or "native") if is_virtual else None
    wanted = replace(wanted, is_virtual=is_virtual, delivery_mode=delivery_mode)
    if delivery_mode == "zoom":
        _check_hosts(wanted)
        return wanted
    for field in ("host_id", "alternative_hosts"):
        if said.get(field):
            raise wrong_field(field, "only an event on Zoom has hosts: set delivery_mode to zoom")
    return replace(wanted, host_id=None, alternative_hosts=())


def _check_hosts(wanted: Terms) -> None:
    if wanted.host_id is None:
        raise wrong_field("host_id", "an event on Zoom needs a host")
    if wanted.host_id in wanted.alternative_hosts:
        raise wrong_field("alternative_hosts", "the host cannot be an alternative to itself")
    if len(set(wanted.alternative_hosts)) < len(wanted.alternative_hosts):
        raise wrong_field("alternative_hosts", "names a host twice")
