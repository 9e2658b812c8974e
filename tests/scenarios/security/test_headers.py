"""The headers of every response, and the markup of pages for people."""

import json
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from app.core.errors import PROBLEMS
from app.core.settings import Settings
from app.devstack.server_process import LOOPBACK, Server
from tests.core.conftest import environment
from tests.scenarios.security.access_matrix import ACCESS_MATRIX
from tests.scenarios.security.callers import ALLOWED_ORIGIN, FOREIGN_ORIGINS, bearer, token_for
from tests.scenarios.security.fixtures import Communities, build_request, event_body
from tests.scenarios.security.secret_search import Artifact, Secret, search
from tests.support.timeouts import TIMEOUT

JOIN_ROUTES = [
    route for route in ACCESS_MATRIX if "zoom-" in route or route.split(" ")[1].startswith(("/j/", "/join/", "/guest/"))
]
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'"


class Elements(HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """The parser's hook."""
        self.found.append((tag, dict(attrs)))


def assert_private(answer: httpx.Response) -> None:
    assert answer.headers["cache-control"] == "no-store"
    # With `no-referrer` a browser sends a form with `Origin: null`, so a page with a form uses `same-origin`.
    allowed = "same-origin" if "<form" in answer.text else "no-referrer"
    assert answer.headers["referrer-policy"] == allowed


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("who", [None, "registered", "member", "host", "stranger"])
@pytest.mark.parametrize("route", JOIN_ROUTES)
async def test_join_responses_are_never_cached(
    route: str, who: str | None, accept: str, communities: Communities
) -> None:
    arguments = await build_request(communities, route)
    headers = {"Accept": accept}
    if who is None:
        answer = await communities.service.api.request(**arguments, headers=headers)
    else:
        answer = await communities.request_as(who, arguments.pop("method"), arguments.pop("url"), headers=headers)
    assert_private(answer)


async def test_nobody_keeps_what_is_for_one_person_or_gives_it_to_another(communities: Communities) -> None:
    # A stream never ends. The tests of streams check its headers.
    for route in [route for route in ACCESS_MATRIX if not route.endswith("/live")]:
        arguments = await build_request(communities, route)
        answer = await communities.request_as("owner", arguments.pop("method"), arguments.pop("url"), **arguments)
        kept = answer.headers["cache-control"]
        assert kept in {"no-store", "private, no-cache"}, route
        assert {"cookie", "authorization"} <= {each.strip().lower() for each in answer.headers["vary"].split(",")}, (
            route
        )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/events/no-id/zoom-join", b""),
        ("POST", "/api/events/{event_id}/zoom-join", b"{"),
        ("POST", "/api/events/{event_id}/zoom-join", b'{"link": 7}'),
        ("POST", "/api/events/{event_id}/zoom-join", b'{"link": "%s"}' % (b"x" * 2**21)),
        ("PUT", "/j/unknown", b""),
        ("GET", "/j/unknown", b""),
        ("GET", "/j/" + "x" * 5000, b""),
        ("GET", "/join/no.link", b""),
        ("GET", "/join/unknown", b""),
        ("DELETE", "/join/unknown", b""),
    ],
)
async def test_nobody_keeps_an_answer_to_a_click_that_makes_no_sense(
    method: str, path: str, body: bytes, communities: Communities
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await communities.request_as(
        "registered", method, path.format_map(vars(communities.own)), content=body, headers=headers
    )
    assert 400 <= answer.status_code < 500
    assert_private(answer)


@pytest.mark.parametrize("path", ["/api/integrations/zoom/callback?state=x&code=y", "/api/integrations/zoom/callback"])
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
async def test_nobody_keeps_an_answer_to_the_way_back_from_zoom(
    path: str, accept: str, communities: Communities
) -> None:
    assert_private(await communities.service.api.get(path, headers={"Accept": accept}))


async def test_errors_are_problems_with_a_known_slug_and_kept_by_nobody(communities: Communities) -> None:
    for method, path in (
        ("GET", "/nowhere"),
        ("GET", "/api/events/{event_id}"),
        ("POST", "/api/events/{event_id}"),
        ("TRACE", "/healthz"),
        ("PUT", "/api/integrations/zoom/webhooks"),
    ):
        answer = await communities.service.api.request(method, path.format_map(vars(communities.own)))
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        slug = problem["type"].removeprefix(f"{communities.service.settings.public_url}/problems/")
        assert (problem["status"], problem["title"]) == PROBLEMS[slug] == (answer.status_code, problem["title"])
        assert problem["instance"] == path.format_map(vars(communities.own))
        assert_private(answer)


async def test_who_is_not_signed_in_is_told_how(communities: Communities) -> None:
    """RFC 9110 section 15.5.2: a 401 says what would be accepted."""
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}):
        answer = await communities.service.api.get("/api/me/events", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_only_the_platforms_pages_may_read_answers_across_origins(communities: Communities) -> None:
    allowed = await communities.service.api.get("/api/me/events", headers={"Origin": ALLOWED_ORIGIN})
    assert allowed.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
    assert allowed.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in allowed.headers["vary"]
    for origin in FOREIGN_ORIGINS:
        foreign = await communities.service.api.get("/api/me/events", headers={"Origin": origin})
        assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.parametrize("origins", ["*", "spa.example", "https://spa.example/page", "https://spa.example,null"])
def test_an_installation_cannot_let_in_every_page(origins: str, communities: Communities) -> None:
    with pytest.raises(ValidationError, match="must be origins"):
        Settings.model_validate(dict(communities.service.settings) | {"cors_origins": origins})


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_only_the_platforms_pages_get_through_a_preflight(method: str, communities: Communities) -> None:
    arguments = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,if-match"}
    allowed = await communities.service.api.options("/api/me/events", headers={"Origin": ALLOWED_ORIGIN, **arguments})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
    for origin in FOREIGN_ORIGINS:
        foreign = await communities.service.api.options("/api/me/events", headers={"Origin": origin, **arguments})
        assert foreign.status_code == 400
        assert "access-control-allow-origin" not in foreign.headers


TRACING = "sentry-trace,baggage,traceparent,tracestate,cache-control,if-none-match,x-requested-with,x-anything"


@pytest.mark.parametrize("requested", [*TRACING.split(","), TRACING, "Authorization, Content-Type, X-Request-Id"])
async def test_the_platforms_pages_may_send_whatever_headers_they_like(
    requested: str, communities: Communities
) -> None:
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": requested}
    allowed = await communities.service.api.options("/api/me/events", headers={"Origin": ALLOWED_ORIGIN, **preflight})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
    allowed_headers = {name.strip().lower() for name in allowed.headers["access-control-allow-headers"].split(",")}
    assert {name.strip().lower() for name in requested.split(",")} <= allowed_headers
    for origin in FOREIGN_ORIGINS:
        foreign = await communities.service.api.options("/api/me/events", headers={"Origin": origin, **preflight})
        assert foreign.status_code == 400
        assert "access-control-allow-origin" not in foreign.headers


async def test_the_platforms_pages_read_what_a_file_is_called(communities: Communities) -> None:
    path = f"/api/events/{communities.own.event_id}/invite.ics"
    answer = await communities.request_as("registered", "GET", path, headers={"Origin": ALLOWED_ORIGIN})
    exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    ours = {"Content-Disposition", "ETag", "Location", "Preference-Applied", "Retry-After", "X-Request-Id"}
    assert exposed == ours


async def test_the_sentence_pages_hold_no_script_and_allow_none(communities: Communities) -> None:
    html = {"Accept": "text/html"}
    pages = [
        await communities.service.api.get("/j/unknown", headers=html),
        await communities.service.api.get("/join/unknown", headers=html),
        await communities.request_as("member", "GET", f"/join/{communities.own.join_link}", headers=html),
        await communities.request_as(
            "member", "POST", f"/api/events/{communities.own.event_id}/zoom-join", headers=html
        ),
        await communities.service.api.post(f"/api/events/{communities.own.event_id}/zoom-join", headers=html),
        await communities.service.api.get("/api/integrations/zoom/callback?state=unknown", headers=html),
    ]
    for page in pages:
        assert page.status_code >= 400
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert {tag for tag, _ in Elements(page.text).found} <= {
            "html", "head", "meta", "title", "style", "body", "main", "h1", "p", "a",
        }  # fmt: skip


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_nothing_people_write_becomes_markup(accept: str, communities: Communities) -> None:
    """Titles, names and the path itself, all hostile, on pages that show as much of them as they can."""
    made = await communities.request_as(
        "admin",
        "POST",
        f"/api/communities/{communities.own.community}/events",
        json=event_body(communities.service, title=HOSTILE),
    )
    event_id = made.json()["id"]
    hostile: dict[str, Any] = {"name": HOSTILE, "communities": None}
    token = communities.service.platform.token("stranger", communities.service.clock.now(), **hostile)
    pages = 0
    for method, path in (
        ("POST", f"/api/events/{event_id}/zoom-join"),
        ("POST", f"/api/events/{event_id}/zoom-start"),
        ("GET", f"/j/{HOSTILE.replace('/', '')}"),
        ("GET", f"/join/{HOSTILE.replace('/', '')}"),
        ("GET", f"/join/{communities.own.join_link}?x={HOSTILE}"),
        ("GET", f"/api/integrations/zoom/callback?state={HOSTILE}&code={HOSTILE}"),
    ):
        for headers in ({}, {"Authorization": f"Bearer {token}"}):
            answer = await communities.service.api.request(method, path, headers={"Accept": accept, **headers})
            assert answer.status_code < 500
            if answer.headers.get("content-type", "").startswith(accept) and accept == "text/html":
                assert "<script>alert" not in answer.text
                assert not [tag for tag, _ in Elements(answer.text).found if tag in {"script", "img"}]
                pages += 1
            elif not answer.is_redirect:
                assert answer.headers["content-type"] == "application/problem+json"
    assert pages == (11 if accept == "text/html" else 0)


async def test_the_pages_way_on_leads_to_the_platform_or_back_here(communities: Communities) -> None:
    places = (communities.service.settings.spa_url, f"{communities.service.settings.public_url}/join/")
    for who in ("member", "stranger", "neighbour", "coach"):
        page = await communities.request_as(
            who, "GET", f"/join/{communities.own.join_link}", headers={"Accept": "text/html"}
        )
        links = [attributes["href"] for tag, attributes in Elements(page.text).found if tag == "a"]
        assert len(links) == 1
        assert links[0] is not None
        assert links[0].startswith(places)


async def test_a_process_does_not_say_what_it_is_made_of(communities: Communities, tmp_path: Path) -> None:
    """The real process names neither server nor framework, and its log contains no path and no token."""
    settings = tmp_path / "settings.json"
    log_file = tmp_path / "api.log"
    settings.write_text(json.dumps(environment(communities.service.settings)))
    program: Sequence[str | Path] = [
        sys.executable,
        "-m",
        "app.devstack.run_with_settings",
        settings,
        "api",
        "--host",
        LOOPBACK,
    ]
    server = Server("api", log_file, lambda port: [*program, "--port", str(port)], ready="Uvicorn running on")
    token = token_for(communities.service, "owner")
    try:
        base = f"http://{LOOPBACK}:{await server.start()}"
        async with httpx.AsyncClient(base_url=base, timeout=TIMEOUT) as process_api:
            alive = await process_api.get("/healthz")
            known = await process_api.get("/api/me/events", headers=bearer(token))
            unknown = await process_api.get("/j/a-ticket-of-somebody", headers=bearer("no.good.token-of-nobody"))
    finally:
        await server.stop()
    log = log_file.read_bytes()
    assert (alive.status_code, known.status_code, unknown.status_code) == (200, 200, 410)
    for answer in (alive, known, unknown):
        assert not {"server", "x-powered-by"} & set(answer.headers)
    assert search([Artifact("log", log)], [Secret("token", token), Secret("ticket", "a-ticket-of-somebody")]) == []
    assert b"/j/{ticket}" in log
