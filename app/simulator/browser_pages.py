"""The pages of zoom.us that links lead to: /j, /w, /s and the registration form (contract 5.1, 6.1)."""

from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from app.simulator import pages, validation
from app.simulator.errors import RefusalError
from app.simulator.registrants import register, require_admissible
from app.simulator.simulator import Simulator
from app.simulator.state import Meeting

Page = Callable[[Simulator, Meeting, Request], Response]


def routes(simulator: Simulator) -> list[Route]:
    """Return the pages as routes."""

    async def form(request: Request) -> Response:
        meeting = _find_by_registration_key(simulator, request.path_params["key"])
        if meeting is None or not meeting.requires_registration:
            return _message_page("Registration is closed", "Nobody can register here.", 404)
        if request.method == "GET":
            return HTMLResponse(pages.registration_form(meeting))
        return await _register(simulator, meeting, request)

    return [
        _route(simulator, "/j/{meeting_id:int}", _general_link),
        _route(simulator, "/w/{meeting_id:int}", _personal_link),
        _route(simulator, "/s/{meeting_id:int}", _start_link),
        Route("/meeting/register/{key}", form, methods=["GET", "POST"]),
    ]


def _route(simulator: Simulator, path: str, page: Page) -> Route:
    async def endpoint(request: Request) -> Response:
        meeting = simulator.state.meetings.get(request.path_params["meeting_id"])
        if meeting is None or meeting.is_expired(simulator.now()):
            return _message_page("Invalid meeting ID (3,001)", "This meeting does not exist.", 404)
        return page(simulator, meeting, request)

    return Route(path, endpoint, methods=["GET"])


def _general_link(_: Simulator, meeting: Meeting, request: Request) -> Response:
    if meeting.requires_registration:
        return HTMLResponse(pages.registration_form(meeting))
    if request.query_params.get("pwd", "") != meeting.pwd:
        return _message_page("Enter the meeting passcode", "The passcode in this link is missing or wrong.", 403)
    return HTMLResponse(pages.joined_page(meeting, "Guest"))


def _personal_link(_: Simulator, meeting: Meeting, request: Request) -> Response:
    tk = request.query_params.get("tk", "")
    registrant = next((r for r in meeting.registrants.values() if tk and r.tk == tk), None)
    if registrant is None:
        return _message_page("This link is not valid", "It belongs to nobody who registered for this meeting.", 403)
    if registrant.status != "approved":
        return _message_page("You are not registered", f"Your registration is {registrant.status}.", 403)
    return HTMLResponse(pages.joined_page(meeting, f"{registrant.first_name} {registrant.last_name}".strip()))


def _start_link(simulator: Simulator, meeting: Meeting, request: Request) -> Response:
    user_id, expires = simulator.zaks.get(request.query_params.get("zak", ""), ("", simulator.now()))
    if user_id != meeting.host_id or expires <= simulator.now():
        return _message_page("Sign in to start this meeting", "The start link is invalid or older than two hours.", 403)
    return HTMLResponse(pages.host_page(meeting, simulator.state.host(meeting).name))


async def _register(simulator: Simulator, meeting: Meeting, request: Request) -> Response:
    form = dict(parse_qsl((await request.body()).decode(errors="replace")))
    rules = {name: validation.REGISTRANT[name] for name in ("first_name", "last_name", "email")}
    person, wrong = validation.check_fields(dict(form), rules)
    if wrong or "email" not in person or "first_name" not in person:
        return _message_page("Please check your entries", "A first name and a valid e-mail are needed.", 400)
    try:
        require_admissible(simulator, meeting, person["email"])
    except RefusalError as error:
        return _message_page("You cannot register", error.response.body["message"], 400)
    registrant = register(simulator, meeting, person, simulator.base_url(str(request.base_url)))
    if registrant.status == "pending":
        return _message_page("Thank you for registering", "The host will review your registration.")
    return _message_page("You are registered", "Your personal link has been mailed to you.")


def _find_by_registration_key(simulator: Simulator, key: str) -> Meeting | None:
    return next((m for m in simulator.state.meetings.values() if m.registration_key == key), None)


def _message_page(title: str, text: str, status: int = 200) -> Response:
    return HTMLResponse(pages.message_page(title, text), status)
