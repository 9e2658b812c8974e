"""The access matrix: every route, and its response to each kind of caller.

A cell is a status, and what distinguishes responses of one status: the slug of a problem, or where a redirect leads
(`spa`, `ticket`, `zoom`). `nobody` includes every caller with an invalid token. `outside` are members of no community
and admins of another one. `registered` is going to the event in question. `host` is the member whose host holds it. A
cookie on an unsafe method without an allowed `Origin` gets `403 origin-not-allowed` on every route that requires a
token.
"""

from dataclasses import dataclass, replace

SIGN_IN = "401 not-signed-in"
NOT_FOUND = "404 not-found"
FORBIDDEN = "403 forbidden"
EVENT_NOT_FOUND = "404 event-not-found"
NOT_REGISTERED = "403 not-registered"
NOT_YOURS = "403 not-your-link"
INVALID = "422 invalid-request"
FOREIGN_FORM = "403 origin-not-allowed"


@dataclass(frozen=True)
class Access:
    """The responses of one route, by kind of caller."""

    nobody: str
    outside: str
    member: str
    registered: str
    coach: str
    host: str
    admin: str
    owner: str
    platform: str


def everybody(cell: str) -> Access:
    """The same response to everybody, signed in or not."""
    return Access(*[cell] * 9)


def signed_in(cell: str) -> Access:
    """The same response to every signed-in caller."""
    return replace(everybody(cell), nobody=SIGN_IN)


def members(cell: str, outside: str = NOT_FOUND) -> Access:
    """The same response to all members. For others the resource does not exist."""
    return replace(signed_in(cell), outside=outside)


def staff(cell: str) -> Access:
    """For owners, admins and coaches."""
    return replace(members(cell), member=FORBIDDEN, registered=FORBIDDEN, host=FORBIDDEN)


def admins(cell: str) -> Access:
    """For owners and admins. A coach is an ordinary member here."""
    return replace(staff(cell), coach=FORBIDDEN)


def taking_part(cell: str) -> Access:
    """For those who are going to the event, and those who lead or host it."""
    row = replace(members(NOT_REGISTERED), registered=cell, host=cell)
    return replace(row, admin=cell, owner=cell, platform=cell)


IN_COMMUNITY = "/api/communities/{community}"
ZOOM = f"{IN_COMMUNITY}/integrations/zoom"
HOOKS = f"{IN_COMMUNITY}/hooks"

ACCESS_MATRIX: dict[str, Access] = {
    # The Zoom integration.
    f"GET {ZOOM}": admins("200"),
    f"GET {ZOOM}/hosts": staff("200"),
    f"PUT {ZOOM}/hosts/{{host_id}}/member": admins("200"),
    f"POST {ZOOM}/connect": admins("200"),
    # Only the admin who began may finish.
    f"POST {ZOOM}/connect/confirm": replace(admins(INVALID), admin="200"),
    f"POST {ZOOM}/accounts/{{account_id}}/sync": admins("202"),
    f"PUT {ZOOM}/accounts/{{account_id}}/webhook-secret": admins("200"),
    f"GET {ZOOM}/accounts/{{account_id}}/preflight": admins("200"),
    f"DELETE {ZOOM}/accounts/{{account_id}}": admins("204"),
    "GET /api/integrations/zoom/callback": everybody("303 spa"),
    # Zoom signs its requests. Other callers cannot.
    "POST /api/integrations/zoom/webhooks": everybody("401 unauthentic"),
    "POST /api/integrations/zoom/webhooks/{account_id}": everybody("401 unauthentic"),
    # Spaces and events.
    f"GET {IN_COMMUNITY}/spaces": members("200"),
    f"POST {IN_COMMUNITY}/spaces": admins("201"),
    f"PATCH {IN_COMMUNITY}/spaces/{{space_id}}": admins("200"),
    f"GET {IN_COMMUNITY}/events": members("200"),
    f"POST {IN_COMMUNITY}/events": admins("201"),
    "GET /api/me/events": signed_in("200"),
    "GET /api/events/{event_id}": members("200"),
    "PATCH /api/events/{event_id}": admins("200"),
    "DELETE /api/events/{event_id}": admins("204"),
    "POST /api/events/{event_id}/cancel": admins("200"),
    "POST /api/events/{event_id}/zoom/sync": admins("202"),
    # Registrations. The platform itself is not a person to invite.
    "PUT /api/events/{event_id}/rsvp": replace(members("200"), platform=INVALID),
    "GET /api/events/{event_id}/registrations": admins("200"),
    "PUT /api/events/{event_id}/registrations/{member_id}": admins("200"),
    "POST /api/events/{event_id}/registrations/{member_id}/new-link": admins("202"),
    "GET /api/events/{event_id}/invite.ics": replace(members(NOT_REGISTERED), registered="200"),
    "POST /api/events/{event_id}/invite": replace(members(NOT_REGISTERED), registered="202"),
    # Attendance. A coach who does not lead the event is an ordinary member here.
    "GET /api/events/{event_id}/attendance": admins("200"),
    "PUT /api/events/{event_id}/attendance/{session_id}": admins("200"),
    # Live. A coach who does not lead the event is an ordinary member here, too.
    "GET /api/events/{event_id}/live": taking_part("200"),
    "GET /api/events/{event_id}/messages": taking_part("200"),
    "POST /api/events/{event_id}/messages": taking_part("201"),
    "DELETE /api/messages/{message_id}": admins("204"),
    "GET /api/events/{event_id}/questions": taking_part("200"),
    "POST /api/events/{event_id}/questions": taking_part("201"),
    "DELETE /api/questions/{question_id}": admins("204"),
    "PUT /api/questions/{question_id}/upvote": taking_part("200"),
    "DELETE /api/questions/{question_id}/upvote": taking_part("200"),
    "POST /api/questions/{question_id}/answer": admins("200"),
    # All members may leave by themselves. This route removes somebody else.
    f"DELETE {IN_COMMUNITY}/members/{{member_id}}": admins("204"),
    "GET /api/events/{event_id}/calendar-links": replace(members(NOT_REGISTERED), registered="200"),
    # A member's own mails and calendar. Programs read the feed, and end reminders, by a link alone.
    f"GET {IN_COMMUNITY}/settings": admins("200"),
    f"PATCH {IN_COMMUNITY}/settings": admins("200"),
    "GET /api/me/mail": signed_in("200"),
    "PUT /api/me/mail": signed_in("200"),
    "GET /api/me/calendar-feed": signed_in("200"),
    "POST /api/me/calendar-feed": signed_in("201"),
    "DELETE /api/me/calendar-feed": signed_in("204"),
    "GET /calendar/{secret}.ics": everybody("200"),
    "HEAD /calendar/{secret}.ics": everybody("200"),
    "GET /unsubscribe/{link}": everybody("200"),
    "HEAD /unsubscribe/{link}": everybody("204"),
    "POST /unsubscribe/{link}": everybody("200"),
    "GET /problems/{slug}": everybody("200"),
    # Joining, with a ticket and a link of `registered`.
    "POST /api/events/{event_id}/zoom-join": replace(
        members(NOT_REGISTERED, EVENT_NOT_FOUND), registered="200", host="409 use-start"
    ),
    "POST /api/events/{event_id}/zoom-start": replace(members(FORBIDDEN, EVENT_NOT_FOUND), host="200"),
    "GET /j/{ticket}": replace(everybody(NOT_YOURS), nobody="303 zoom", registered="303 zoom"),
    "HEAD /j/{ticket}": everybody("204"),
    "GET /join/{join_link}": replace(everybody(NOT_YOURS), nobody="303 spa", registered="303 ticket"),
    "HEAD /join/{join_link}": everybody("204"),
    # Guests have no token. A mailed code identifies them. The form counts only on the guest's own page.
    "POST /api/events/{event_id}/guests": admins("201"),
    "GET /api/events/{event_id}/guests": admins("200"),
    "DELETE /api/events/{event_id}/guests/{guest_id}": admins("204"),
    "GET /guest/{guest_link}": everybody("200"),
    "HEAD /guest/{guest_link}": everybody("204"),
    "POST /guest/{guest_link}": everybody(FOREIGN_FORM),
    "GET /guest/{guest_link}/code": everybody("200"),
    "HEAD /guest/{guest_link}/code": everybody("204"),
    "POST /guest/{guest_link}/code": everybody(FOREIGN_FORM),
    # The community's hooks.
    f"GET {HOOKS}": admins("200"),
    f"POST {HOOKS}": admins("201"),
    f"GET {HOOKS}/{{hook_id}}": admins("200"),
    f"PATCH {HOOKS}/{{hook_id}}": admins("200"),
    f"DELETE {HOOKS}/{{hook_id}}": admins("204"),
    f"POST {HOOKS}/{{hook_id}}/test": admins("202"),
    f"POST {HOOKS}/{{hook_id}}/rotate": admins("200"),
    f"GET {HOOKS}/{{hook_id}}/attempts": admins("200"),
    f"POST {HOOKS}/{{hook_id}}/redeliver": admins("202"),
    # The process itself.
    "GET /healthz": everybody("200"),
    "GET /readyz": everybody("200"),
    "GET /docs": everybody("200"),
    "HEAD /docs": everybody("200"),
    "GET /openapi.json": everybody("200"),
    "HEAD /openapi.json": everybody("200"),
}
