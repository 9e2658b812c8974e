"""The pages of zoom.us that links lead to: /j, /w, /s and the registration form (contract 5.1, 6.1)."""

from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from app.simulator import fields, pages
from app.simulator.errors import RefusalError
from app.simulator.registrants import refuse_hosts_and_latecomers, register
from app.simulator.simulator import Simulator
from app.simulator.state import Meeting

Page = Callable[[Simulator, Meeting, Request], Response]


def routes(simulator: Simulator) -> list[Route]:
    """The pages as routes."""

    async def form(request: Request) -> Response:
        meeting = _by_key(simulator, request.path_params["key"])
        if meeting is None or not meeting.registration:
            return _said("Registration is closed", "Nobody can register here.", 404)
        if request.method == "GET":
            return HTMLResponse(pages.registration(meeting))
        return await _register(simulator, meeting, request)

    return [
        _route(simulator, "/j/{meeting_id:int}", _plain),
        _route(simulator, "/w/{meeting_id:int}", _personal),
        _route(simulator, "/s/{meeting_id:int}", _start),
        Route("/meeting/register/{key}", form, methods=["GET", "POST"]),
    ]


def _route(simulator: Simulator, path: str, page: Page) -> Route:
    async def endpoint(request: Request) -> Response:
        meeting = simulator.world.meetings.get(request.path_params["meeting_id"])
        if meeting is None or meeting.expired(simulator.now()):
            return _said("Invalid meeting ID (3,001)", "This meeting does not exist.", 404)
        return page(simulator, meeting, request)

    return Route(path, endpoint, methods=["GET"])


def _plain(_: Simulator, meeting: Meeting, request: Request) -> Response:
    if meeting.registration:
        return HTMLResponse(pages.registration(meeting))
    if request.query_params.get("pwd", "") != meeting.pwd:
        return _said("Enter the meeting passcode", "The passcode in this link is missing or wrong.", 403)
    return HTMLResponse(pages.inside(meeting, "Guest"))


def _personal(_: Simulator, meeting: Meeting, request: Request) -> Response:
    tk = request.query_params.get("tk", "")
    registrant = next((r for r in meeting.registrants.values() if tk and r.tk == tk), None)
    if registrant is None:
        return _said("This link is not valid", "It belongs to nobody who registered for this meeting.", 403)
    if registrant.status != "approved":
        return _said("You are not registered", f"Your registration is {registrant.status}.", 403)
    return HTMLResponse(pages.inside(meeting, f"{registrant.first_name} {registrant.last_name}".strip()))


def _start(simulator: Simulator, meeting: Meeting, request: Request) -> Response:
    user_id, expires = simulator.zaks.get(request.query_params.get("zak", ""), ("", simulator.now()))
    if user_id != meeting.host_id or expires <= simulator.now():
        return _said("Sign in to start this meeting", "The start link is invalid or older than two hours.", 403)
    return HTMLResponse(pages.host(meeting, simulator.world.host(meeting).name))


async def _register(simulator: Simulator, meeting: Meeting, request: Request) -> Response:
    filled = dict(parse_qsl((await request.body()).decode(errors="replace")))
    asked = {name: fields.REGISTRANT[name] for name in ("first_name", "last_name", "email")}
    person, wrong = fields.taken(dict(filled), asked)
    if wrong or "email" not in person or "first_name" not in person:
        return _said("Please check your entries", "A first name and a valid e-mail are needed.", 400)
    try:
        refuse_hosts_and_latecomers(simulator, meeting, person["email"])
    except RefusalError as refused:
        return _said("You cannot register", refused.answer.body["message"], 400)
    registrant = register(simulator, meeting, person, simulator.base_url(str(request.base_url)))
    if registrant.status == "pending":
        return _said("Thank you for registering", "The host will review your registration.")
    return _said("You are registered", "Your personal link has been mailed to you.")


def _by_key(simulator: Simulator, key: str) -> Meeting | None:
    return next((m for m in simulator.world.meetings.values() if m.registration_key == key), None)


def _said(title: str, text: str, status: int = 200) -> Response:
    return HTMLResponse(pages.message(title, text), status)
