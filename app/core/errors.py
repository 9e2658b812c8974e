"""Errors that callers see: a problem (RFC 9457) with a stable slug."""

from collections.abc import Sequence
from typing import Any

# slug -> (HTTP status, title). The slugs of a refused join stand in the order in which `joining.decide` checks them.
PROBLEMS: dict[str, tuple[int, str]] = {
    "not-signed-in": (401, "You are not signed in"),
    "too-many-clicks": (429, "Too many clicks"),
    "event-not-found": (404, "There is no such event"),
    "not-registered": (403, "You are not registered for this event"),
    "waiting-list": (403, "You are on the waiting list"),
    "no-show": (403, "You were marked as not having come"),
    "event-cancelled": (410, "This event was cancelled"),
    "meeting-unavailable": (409, "Meeting unavailable"),
    "event-ended": (410, "This event has ended"),
    "too-early": (403, "It is too early to join"),
    "not-on-zoom": (409, "This event does not run on Zoom"),
    "use-start": (409, "You are the host: start the meeting instead"),
    "not-ready": (503, "The way into the meeting is not ready yet"),
    "ticket-used": (410, "This ticket was already used"),
    "ticket-expired": (410, "This ticket has expired"),
    "not-your-link": (403, "This link belongs to somebody else"),
    "not-found": (404, "There is no such thing here"),
    "forbidden": (403, "You may not do this"),
    "origin-not-allowed": (403, "This page may not call the API with your cookie"),
    "invalid-request": (422, "Something in the request is not right"),
    "bad-request": (400, "The request cannot be read"),
    "method-not-allowed": (405, "This address does not take that method"),
    "not-acceptable": (406, "That form of answer is not offered"),
    "too-large": (413, "The request is too large"),
    "request-timeout": (408, "The request took too long to arrive"),
    "headers-too-large": (431, "The request's headers are too large"),
    "stale": (412, "Somebody changed this in the meantime"),
    "idempotency-key-reused": (422, "This Idempotency-Key was used for another request"),
    "deleted": (410, "This was deleted"),
    "event-closed": (409, "This event no longer takes changes"),
    "not-live": (409, "This event is not live"),
    "not-there": (403, "You were not in this event"),
    "too-many": (429, "Too many in a short time"),
    "event-full": (409, "This event is full"),
    "no-link": (409, "There is no personal link to replace"),
    "host-busy": (409, "The host is busy at that time"),
    "starts-in-past": (422, "The event would start in the past"),
    "zoom-not-configured": (409, "Zoom integration is not configured on this Kindryn instance"),
    "account-connected-elsewhere": (409, "This Zoom account is connected elsewhere"),
    "connect-failed": (409, "The Zoom account could not be connected"),
    "hook-disabled": (409, "This hook is switched off"),
    "too-many-hooks": (409, "This community has as many hooks as it can"),
    "too-many-spaces": (409, "This community has as many spaces as it can"),
    "needs-reauth": (409, "The Zoom account must be connected again"),
    "zoom-unavailable": (503, "Zoom does not answer"),
    "unauthentic": (401, "This notification is not signed by Zoom"),
    "internal-error": (500, "Something went wrong on our side"),
    "not-available": (503, "A part of the service is not available"),
}
# How routes document a 429 in the OpenAPI document.
TOO_MANY_RESPONSE = "`too-many`, with `Retry-After`"
MAX_NAMED_FIELDS = 20  # wrong fields named in one response
MAX_SHOWN_LENGTH = 300  # characters of one field name or message


class Problem(Exception):
    """An error as `application/problem+json`. `slug` is stable; `detail` is one sentence a person can act on.

    `extra` are further members of the problem (`opens_at`, `free_hosts`, `errors`). `headers` are sent with the
    response.
    """

    def __init__(self, slug: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        self.slug = slug
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra
        self.status, self.title = PROBLEMS[slug]
        super().__init__(f"{slug}: {detail}")

    def body(self, instance: str, public_url: str) -> dict[str, Any]:
        """Return the problem as JSON members; `instance` is the path of the request."""
        return {
            "type": f"{public_url}/problems/{self.slug}",
            "code": self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            **self.extra,
        }


def field_error(field: str, message: str) -> Problem:
    """Return a 422 that names one field, in the shape of a validation error."""
    return field_errors([(field, message)])


def field_errors(wrong: Sequence[tuple[str, str]], number: int | None = None) -> Problem:
    """Return a 422 that names the first wrong fields and counts the rest.

    `wrong` holds (field, message) pairs. `number` is how many fields are wrong, if `wrong` does not hold them all. The
    caller chose the field names, so they are shortened and always valid UTF-8.
    """
    named = [{"field": _shorten(field), "message": _shorten(message)} for field, message in wrong[:MAX_NAMED_FIELDS]]
    detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in named)
    more = (len(wrong) if number is None else number) - len(named)
    if not more:
        return Problem("invalid-request", detail, errors=named)
    return Problem("invalid-request", f"{detail}; and {more:,} more", errors=named, more_errors=more)


def _shorten(text: str) -> str:
    sound = text.encode("utf-8", "replace").decode()
    return sound if len(sound) <= MAX_SHOWN_LENGTH else sound[:MAX_SHOWN_LENGTH] + "…"


def not_found(what: str) -> Problem:
    """Return the 404 for unknown and foreign ids alike, so that no caller learns what exists."""
    return Problem("not-found", f"There is no such {what}.")
