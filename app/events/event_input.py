"""The input of an event: what a request may contain, checked and made into complete fields. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from app.core.errors import field_error
from app.core.text_cleaning import nonblank_line
from app.events import event_times
from app.events.models import Event

# One line with something visible in it. PostgreSQL stores no NUL, and no heading needs a line break.
Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
    AfterValidator(nonblank_line),
]
Description = Annotated[str, StringConstraints(max_length=20_000, pattern=r"^[^\x00]*$")]
Delivery = Literal["native", "zoom"]
TITLE = "What it is called, in one line"
STARTS_AT = "When it begins: with an offset an instant, without one the time on the wall in `timezone`. Not in the past"
ENDS_AT = "When it ends, written like `starts_at`: later than that, by 24 hours at the most"
TIMEZONE = "The zone it is planned in, by its IANA name. Changed alone, it moves nothing"
SOME_ID = "0197f0a2-6c1b-7a40-8a51-0d7f3c2b9e11"
WHEN = ["2027-03-01T19:00:00Z"]


class _EventBody(TypedDict, total=False):
    """The optional fields that a new event and a change of one share."""

    space_id: Annotated[UUID | None, Field(description="The space that holds it; null for none", examples=[SOME_ID])]
    description: Annotated[Description, Field(examples=["Bring a cup of tea."])]
    is_virtual: Annotated[
        bool, Field(strict=True, description="Turned off, it takes the delivery away", examples=[True])
    ]
    delivery_mode: Annotated[
        Delivery | None,
        Field(description="Where a virtual event runs; setting it makes the event virtual", examples=["zoom"]),
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


class NewEvent(_EventBody):
    """An event to create. A field that is left out is empty, unlimited or off."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # how pydantic configures a TypedDict

    title: Annotated[Title, Field(description=TITLE, examples=["Evening circle"])]
    starts_at: Annotated[event_times.LocalTime, Field(description=STARTS_AT, examples=WHEN)]
    ends_at: Annotated[event_times.LocalTime, Field(description=ENDS_AT, examples=["2027-03-01T20:30:00Z"])]
    timezone: Annotated[
        str, AfterValidator(event_times.validate_timezone), Field(description=TIMEZONE, examples=["Europe/Berlin"])
    ]


class EventChanges(_EventBody, total=False):
    """Changes to an event. A field that is left out stays as it is.

    Only a field that can be empty takes null.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # how pydantic configures a TypedDict

    title: Annotated[Title, Field(description=TITLE, examples=["Evening circle, again"])]
    starts_at: Annotated[event_times.LocalTime, Field(description=STARTS_AT, examples=WHEN)]
    ends_at: Annotated[event_times.LocalTime, Field(description=ENDS_AT, examples=["2027-03-01T20:30:00Z"])]
    timezone: Annotated[
        str, AfterValidator(event_times.validate_timezone), Field(description=TIMEZONE, examples=["Europe/Berlin"])
    ]


@dataclass(frozen=True)
class EventFields:
    """The fields of an event that people can set, complete and consistent. Times are in UTC."""

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
    def from_event(cls, event: Event) -> Self:
        """Return the fields that a stored event has now."""
        stored = {field.name: getattr(event, field.name) for field in fields(cls)}
        return cls(**{**stored, "alternative_hosts": tuple(event.alternative_hosts)})

    def columns(self) -> dict[str, Any]:
        """Return the fields as values for the columns of an event."""
        stored = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**stored, "alternative_hosts": list(self.alternative_hosts)}

    def rescheduled(self, other: Self) -> bool:
        """Return whether `other` takes place at another time."""
        return (self.starts_at, self.ends_at) != (other.starts_at, other.ends_at)

    def delivery_changed(self, other: Self) -> bool:
        """Return whether `other` runs elsewhere, or under another host."""
        return (self.delivery_mode, self.host_id) != (other.delivery_mode, other.host_id)


def from_input(new_event: NewEvent) -> EventFields:
    """Return the fields of a new event. A 422 names the field that is not allowed."""
    values = {**new_event, "alternative_hosts": tuple(new_event.get("alternative_hosts", ()))}
    return _normalized(EventFields(**values), new_event)  # type: ignore[arg-type]  # NewEvent has the same fields


def merged(before: EventFields, changes: EventChanges) -> EventFields:
    """Return `before` with the changes made. A 422 names the field that is not allowed."""
    values: dict[str, Any] = dict(changes)
    if "alternative_hosts" in values:
        values["alternative_hosts"] = tuple(values["alternative_hosts"])
    return _normalized(replace(before, **values), changes)


def _normalized(draft: EventFields, requested: Mapping[str, Any]) -> EventFields:
    """Return the draft with times in UTC and a consistent delivery.

    `requested` has the fields that the caller sent.
    """
    starts_at = event_times.to_utc(draft.starts_at, draft.timezone, "starts_at")
    ends_at = event_times.to_utc(draft.ends_at, draft.timezone, "ends_at")
    event_times.check_span(starts_at, ends_at)
    return _with_delivery(replace(draft, starts_at=starts_at, ends_at=ends_at), requested)


def _with_delivery(draft: EventFields, requested: Mapping[str, Any]) -> EventFields:
    """Make `is_virtual`, `delivery_mode` and the hosts agree.

    The draft alone cannot show what the caller meant: a stored value that no longer fits is dropped, while the same
    value in the request is refused. So `requested` is consulted, too.
    """
    if requested.get("delivery_mode") and not requested.get("is_virtual", True):
        raise field_error("delivery_mode", "only a virtual event has one: leave it out, or turn is_virtual on")
    is_virtual = draft.is_virtual or bool(requested.get("delivery_mode"))
    if is_virtual and requested.get("delivery_mode", "native") is None:
        raise field_error("delivery_mode", "a virtual event runs somewhere: native or zoom")
    delivery_mode = (draft.delivery_mode or "native") if is_virtual else None
    draft = replace(draft, is_virtual=is_virtual, delivery_mode=delivery_mode)
    if delivery_mode == "zoom":
        _check_hosts(draft)
        return draft
    for field in ("host_id", "alternative_hosts"):
        if requested.get(field):
            raise field_error(field, "only an event on Zoom has hosts: set delivery_mode to zoom")
    return replace(draft, host_id=None, alternative_hosts=())


def _check_hosts(draft: EventFields) -> None:
    if draft.host_id is None:
        raise field_error("host_id", "an event on Zoom needs a host")
    if draft.host_id in draft.alternative_hosts:
        raise field_error("alternative_hosts", "the host cannot be an alternative to itself")
    if len(set(draft.alternative_hosts)) < len(draft.alternative_hosts):
        raise field_error("alternative_hosts", "names a host twice")
