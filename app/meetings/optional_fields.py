"""Which optional fields of a meeting to leave out after Zoom refused them, and what to remember. Pure.

If Zoom refuses one, we lose that field and not the meeting.

Zoom refuses a whole create or update because of one value it does not accept: a time zone it does not know, an option
of a higher plan, an alternative host. It names the field in `errors` (code 300), or in its message, or not at all.
Fields have Zoom's names here, with a dot: `settings.auto_recording`.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from app.clients.zoom import InvalidRequest, MeetingBody, NotLicensed, Refused, ZoomError
from app.meetings.plan import Plan

# If one of these is missing, Zoom uses something harmless: a passcode of its own, the host's time zone (the start is in
# UTC anyway), the host's own settings. Fields that make a meeting ours, on time and closed to strangers are not here.
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
# If Zoom names no field, these are left out one after the other in this order, and then all others together. The order
# is a judgement: the likeliest cause comes first.
GUESS_ORDER: Final = OPTIONAL[:4]
# Calls for one create or update. Each counts against the daily limit of 100 calls for the host.
MAX_TRIES = 8
# Error codes that may be about a field: validation, scheduling, and "Only available for paid users".
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
    """Fields that were left out so far: `named` by Zoom, and each guess that did not help.

    `present` are the optional fields of the body.
    """

    present: frozenset[str]
    named: frozenset[str] = frozenset()
    guesses: tuple[frozenset[str], ...] = ()

    @property
    def left_out(self) -> frozenset[str]:
        """Return the fields that the next call leaves out."""
        return self.named | (self.guesses[-1] if self.guesses else frozenset())

    def next(self, refusal: ZoomError) -> "Tries | None":
        """Return what to try after a refusal; None if no field can be blamed, or no try is left."""
        if 1 + len(self.named) + len(self.guesses) >= MAX_TRIES:
            return None
        blamed = fields_named_by(refusal)
        if blamed:
            # If Zoom names a field that is required or was left out already, leaving out more does not help.
            helps = blamed <= self.present - self.named
            return Tries(self.present, self.named | blamed, self.guesses) if helps else None
        if refusal.code not in _ABOUT_A_FIELD or not isinstance(refusal, InvalidRequest | NotLicensed):
            return None
        left = self.present - self.named
        single = [frozenset({field}) for field in GUESS_ORDER if field in left]
        rest = left.difference(GUESS_ORDER)
        everything = frozenset(left)
        for guess in (*single, rest, everything):
            if guess and guess not in self.guesses:
                return Tries(self.present, self.named, (*self.guesses, guess))
        return None


def fields_named_by(refusal: ZoomError) -> frozenset[str]:
    """Return the fields that a refusal names; empty if it names none.

    Optional fields get their name in `OPTIONAL`; other names stay as Zoom writes them.
    """
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
    """Return the dotted name of an optional field that Zoom named without `settings.`."""
    return field if field in OPTIONAL or f"settings.{field}" not in OPTIONAL else f"settings.{field}"


def optional_fields_of(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the optional fields of a body that request something.

    An empty list of alternative hosts, for instance, requests nothing.
    """
    return frozenset(field for field in OPTIONAL if value_of(body, field) not in {None, "", "none"})


def value_of(body: Mapping[str, Any], field: str) -> Any:
    """Return the value of a dotted field; None if it is absent."""
    group, _, name = field.rpartition(".")
    inside = body.get(group, {}) if group else body
    return inside.get(name)


def without_fields(body: Mapping[str, Any], fields: Collection[str]) -> Plan:
    """Return `body` without these fields, and without `settings` if nothing is left in it."""
    kept = {name: value for name, value in body.items() if name != "settings" and name not in fields}
    settings = {name: value for name, value in body.get("settings", {}).items() if f"settings.{name}" not in fields}
    return kept | ({"settings": settings} if settings else {})


def without_refused(plan: Plan, left_out: Mapping[str, Any]) -> Plan:
    """Return the plan without refused fields whose value is still the same. A new value is tried."""
    return without_fields(plan, [field for field, value in left_out.items() if value_of(plan, field) == value])


def body_without(body: MeetingBody, fields: Collection[str]) -> MeetingBody:
    """Return a request body without these fields."""
    return cast("MeetingBody", without_fields(cast("Mapping[str, Any]", body), fields))


def remember_refused(plan: Plan, before: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """Return the refused fields with the values that Zoom refused.

    These are the entries of `before` that the plan still has, and `fields` with their values in the plan.
    A passcode is no part of a plan, so it is not kept: Zoom has created one of its own.
    """
    still_refused = {field: value for field, value in before.items() if value_of(plan, field) == value}
    refused = {field: value_of(plan, field) for field in sorted(fields)}
    return still_refused | {field: value for field, value in refused.items() if value is not None}


def as_differences(left_out: Mapping[str, Any], observed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fields that were left out as differences: `{field, wanted, observed}` each."""
    return [
        {"field": field, "wanted": desired, "observed": value_of(observed, field)}
        for field, desired in left_out.items()
    ]
