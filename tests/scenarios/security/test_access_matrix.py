"""Every route responds to every kind of caller as the access matrix says."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, astuple
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.cli.documents import PLACEHOLDER_SETTINGS
from app.main import create_app
from tests.scenarios.security.access_matrix import ACCESS_MATRIX, SIGN_IN
from tests.scenarios.security.callers import SAFE, Caller, all_callers
from tests.scenarios.security.fixtures import Communities, build_request
from tests.support.service import COMMUNITY, RunningService, serve

COOKIE_REFUSED = "403 origin-not-allowed"


class ForeignKeySet:
    """A key set that is not the platform's. It counts requests for it."""

    def __init__(self) -> None:
        self.requests = 0
        self.url = ""
        self.app = FastAPI()
        self.app.add_api_route("/{path:path}", self._answer)

    async def _answer(self) -> dict[str, Any]:
        self.requests += 1
        return {"keys": []}


@pytest.fixture(scope="module")
async def elsewhere() -> AsyncIterator[ForeignKeySet]:
    """A foreign key set."""
    keys = ForeignKeySet()
    async with serve(keys.app) as url:
        keys.url = f"{url}/jwks.json"
        yield keys


def routes_of(app: FastAPI) -> Iterator[str]:
    """Yield every route of the app as `METHOD /path/{template}`, also those that are not in the document."""
    for route in iter_route_contexts(app.routes):
        assert route.path is not None
        for method in route.methods or ():
            yield f"{method} {route.path}"


def test_the_matrix_has_every_route_and_no_other() -> None:
    app = create_app(PLACEHOLDER_SETTINGS)
    documented = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    assert set(ACCESS_MATRIX) == set(routes_of(app))
    assert documented <= set(ACCESS_MATRIX)


def test_what_is_not_in_the_document_is_known_by_name() -> None:
    app = create_app(PLACEHOLDER_SETTINGS)
    documented = set(app.openapi()["paths"])
    hidden = {route for route in ACCESS_MATRIX if route.split(" ")[1] not in documented}
    assert {route.split(" ")[1] for route in hidden} == {
        "/healthz",
        "/readyz",
        "/docs",
        "/openapi.json",
        "/problems/{slug}",
    }


def test_the_document_says_of_each_route_whether_one_must_sign_in() -> None:
    document = create_app(PLACEHOLDER_SETTINGS).openapi()
    documented = {
        f"{method.upper()} {path}": operation.get("security")
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    for route, security in documented.items():
        must = ACCESS_MATRIX[route].nobody == SIGN_IN
        may = len(set(astuple(ACCESS_MATRIX[route]))) > 1
        assert security == ([{"platform": []}] if must else [{}, {"platform": []}] if may else []), route


def expected(caller: Caller, method: str, cells: dict[str, str]) -> str:
    """Return the cell of the matrix for a caller."""
    if cells["nobody"] == SIGN_IN and method not in SAFE and not caller.may_change:
        return COOKIE_REFUSED
    return cells[caller.column]


def outcome_of(service: RunningService, response: httpx.Response) -> str:
    """Return a response in the terms of the matrix."""
    code = response.status_code
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        return f"{code} {response.json()['type'].rpartition('/')[2]}"
    if response.is_redirect:
        zoom = str(service.zoom.base_url).rstrip("/")
        destinations = {f"{service.settings.public_url}/j/": "ticket", service.settings.spa_url: "spa", zoom: "zoom"}
        location = response.headers["location"]
        return f"{code} {next((name for start, name in destinations.items() if location.startswith(start)), location)}"
    return str(code)


@pytest.mark.parametrize("route", ACCESS_MATRIX)
async def test_a_route_answers_every_caller_as_the_matrix_says(
    route: str, communities: Communities, elsewhere: ForeignKeySet
) -> None:
    method = route.split(" ")[0]
    cells = asdict(ACCESS_MATRIX[route])
    callers = all_callers(communities.service, elsewhere.url)
    wanted = {caller.name: expected(caller, method, cells) for caller in callers}
    refused = [caller for caller in callers if wanted[caller.name].startswith("4")]
    let_in = [caller for caller in callers if caller not in refused]
    target = await build_request(communities, route, community=COMMUNITY["id"])
    before = await communities.table_digests()
    got = {caller.name: await request_outcome(communities, target, caller) for caller in refused}
    after = await communities.table_digests()
    for caller in let_in:
        # A slug is only a name. The platform, whose token lists no communities, gives the id.
        community = COMMUNITY["id" if caller.name == "platform" else "slug"]
        got[caller.name] = await request_outcome(
            communities, await build_request(communities, route, community=community), caller
        )
    assert got == wanted
    assert after == before, "a refused call changed something"
    assert elsewhere.requests == 0, "a token chose where its key is fetched from"


async def request_outcome(communities: Communities, target: Mapping[str, Any], caller: Caller) -> str:
    """Return what a caller gets, in the terms of the matrix."""
    async with communities.service.api.stream(**target, headers=dict(caller.headers)) as response:
        # A live stream has no end to wait for.
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            await response.aread()
        return outcome_of(communities.service, response)
