"""What a meeting can do without: a refusal of one optional field loses that field, not the meeting. Pure.

Zoom refuses a whole create or update for one value it does not take: a time zone it does not know, an option of a
higher plan, an alternative host. It names the field in `errors` (code 300), or in its sentence, or not at all. Fields
are named here as Zoom names them, with a dot: `settings.auto_recording`.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from app.clients.zoom import InvalidRequest, MeetingBody, NotLicensed, Refused, ZoomError
from app.meetings.plan import Plan

# Without these Zoom falls back on something harmless: its own passcode, the host's time zone (the start itself is in
# UTC), the host's own settings. What makes a meeting ours, on time and closed to strangers is not among them.
OPTIONAL: Final = (
    "timezone",
    "settings.alternative_hosts",
    "settings.auto_recording",
    "password",
    "settings.alternative_hosts_email_notification",
    "settings.allow_multiple_devices",
    "settings.show_share_button",
    "settings.show_join_info",
    "settings.mute_upon_entry",
    "settings.participant_video",
    "settings.join_before_host",
    "settings.use_pmi",
    "settings.email_notification",
    "settings.registrants_email_notification",
    "settings.registrants_confirmation_email",
)
# In this order one after the other is left out where Zoom names no field; the rest together.
GUESS_ORDER: Final = OPTIONAL[:4]
MAX_TRIES = 8  # each counts against the host's hundred of the day
# Where what is refused may be a field: validation, scheduling, and "Only available for paid users".
_ABOUT_A_FIELD = {200, 300, 3000}
_PATTERNS: Mapping[str, re.Pattern[str]] = {
    "timezone": re.compile(r"time\s?zone"),
    "settings.alternative_hosts": re.compile(r"alternative[ _]hosts?"),
    "settings.auto_recording": re.compile(r"(auto|cloud)[ _-]?recording"),
    "password": re.compile(r"passcode|password"),
}
_FIELD_IN_TEXT = re.compile(r"`([a-z_.]+)`|\b((?:settings\.)[a-z_]+)\b")


@dataclass(frozen=True)
class Tries:
    """What a body went without so far: `named` by Zoom, and each guess that did not help."""

    present: frozenset[str]
    named: frozenset[str] = frozenset()
    guesses: tuple[frozenset[str], ...] = ()

    @property
    def left_out(self) -> frozenset[str]:
        """The fields the next try goes without."""
        return self.named | (self.guesses[-1] if self.guesses else frozenset())

    def next(self, refusal: ZoomError) -> "Tries | None":
        """What to try after a refusal; None where it is not about a field that can be left out, or no try is left."""
        if 1 + len(self.named) + len(self.guesses) >= MAX_TRIES:
            return None
        blamed = fields_named_by(refusal)
        if blamed:
            # What Zoom names and is not optional, or was left out already, is not to be had by leaving out more.
            helps = blamed <= self.present - self.named
            return Tries(self.present, self.named | blamed, self.guesses) if helps else None
        if refusal.code not in _ABOUT_A_FIELD or not isinstance(refusal, InvalidRequest | NotLicensed):
            return None
        left = self.present - self.named
        single = [frozenset({field}) for field in GUESS_ORDER if field in left]
        rest, everything = left.difference(GUESS_ORDER), frozenset(left)
        for guess in (*single, rest, everything):
            if guess and guess not in self.guesses:
                return Tries(self.present, self.named, (*self.guesses, guess))
        return None


def fields_named_by(refusal: ZoomError) -> frozenset[str]:
    """The fields a refusal of Zoom's names, ours by our name, others as they are; empty where it names none."""
    if not isinstance(refusal, Refused):
        return frozenset()
    fields = [field.field for field in refusal.fields] if isinstance(refusal, InvalidRequest) else []
    if not fields:
        fields = [first or second for first, second in _FIELD_IN_TEXT.findall(refusal.message)]
    if not fields and refusal.code in _ABOUT_A_FIELD:
        text = refusal.message.lower()
        fields = [field for field, pattern in _PATTERNS.items() if pattern.search(text)]
    return frozenset(_canonical_name(field) for field in fields if field)


def _canonical_name(field: str) -> str:
    return field if field in OPTIONAL or f"settings.{field}" not in OPTIONAL else f"settings.{field}"


def optional_fields_of(body: Mapping[str, Any]) -> frozenset[str]:
    """The optional fields of a body that ask for something: an empty list of alternative hosts is none."""
    return frozenset(field for field in OPTIONAL if value_of(body, field) not in {None, "", "none"})


def value_of(body: Mapping[str, Any], field: str) -> Any:
    """The value of a dotted field; None where it is absent."""
    group, _, name = field.rpartition(".")
    inside = body.get(group, {}) if group else body
    return inside.get(name)


def without_fields(body: Mapping[str, Any], fields: Collection[str]) -> Plan:
    """`body` without these fields, and without `settings` where nothing is left of them."""
    kept = {name: value for name, value in body.items() if name != "settings" and name not in fields}
    settings = {name: value for name, value in body.get("settings", {}).items() if f"settings.{name}" not in fields}
    return kept | ({"settings": settings} if settings else {})


def without_refused(plan: Plan, left_out: Mapping[str, Any]) -> Plan:
    """The plan without what Zoom refused, as long as the same is wanted: another value is tried."""
    return without_fields(plan, [field for field, value in left_out.items() if value_of(plan, field) == value])


def body_without(body: MeetingBody, fields: Collection[str]) -> MeetingBody:
    """The same for a body that is sent."""
    return cast("MeetingBody", without_fields(cast("Mapping[str, Any]", body), fields))


def remember_refused(plan: Plan, before: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """What is kept of fields Zoom refused: each with the value of the plan, beside what of `before` still holds. A
    passcode is no part of a plan, and nothing of it is kept: Zoom has made its own."""
    still_refused = {field: value for field, value in before.items() if value_of(plan, field) == value}
    refused = {field: value_of(plan, field) for field in sorted(fields)}
    return still_refused | {field: value for field, value in refused.items() if value is not None}


def as_differences(left_out: Mapping[str, Any], observed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was left out, as admins read differences: `{field, wanted, observed}` each."""
    return [
        {"field": field, "wanted": desired, "observed": value_of(observed, field)}
        for field, desired in left_out.items()
    ]
