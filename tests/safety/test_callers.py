"""Every route, whoever comes."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, astuple
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.cli.documents import ANY_SETTINGS
from app.main import create_app
from tests.living import COMMUNITY, Living, served
from tests.safety.callers import SAFE, Caller, everybody
from tests.safety.scene import Scene, request
from tests.safety.table import SIGN_IN, TABLE

COOKIE_REFUSED = "403 origin-not-allowed"


class KeySet:
    """A key set that is not the platform's, and counts who asks for it."""

    def __init__(self) -> None:
        self.asked = 0
        self.url = ""
        self.app = FastAPI()
        self.app.add_api_route("/{path:path}", self._answer)

    async def _answer(self) -> dict[str, Any]:
        self.asked += 1
        return {"keys": []}


@pytest.fixture(scope="module")
async def elsewhere() -> AsyncIterator[KeySet]:
    """A key set of somebody else's."""
    keys = KeySet()
    async with served(keys.app) as url:
        keys.url = f"{url}/jwks.json"
        yield keys


def routes_of(app: FastAPI) -> Iterator[str]:
    """Every route of the app as `METHOD /path/{template}`, also those not in the document."""
    for route in iter_route_contexts(app.routes):
        assert route.path is not None
        for method in route.methods or ():
            yield f"{method} {route.path}"


def test_the_table_knows_every_route_and_no_other() -> None:
    app = create_app(ANY_SETTINGS)
    documented = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    assert set(TABLE) == set(routes_of(app))
    assert documented <= set(TABLE)


def test_what_is_not_in_the_document_is_known_by_name() -> None:
    app = create_app(ANY_SETTINGS)
    documented = set(app.openapi()["paths"])
    hidden = {route for route in TABLE if route.split(" ")[1] not in documented}
    assert {route.split(" ")[1] for route in hidden} == {"/healthz", "/readyz", "/docs", "/openapi.json"}


def test_the_document_says_of_each_route_whether_one_must_sign_in() -> None:
    document = create_app(ANY_SETTINGS).openapi()
    said = {
        f"{method.upper()} {path}": operation.get("security")
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    for route, security in said.items():
        must = TABLE[route].nobody == SIGN_IN
        may = len(set(astuple(TABLE[route]))) > 1
        assert security == ([{"platform": []}] if must else [{}, {"platform": []}] if may else []), route


def expected(caller: Caller, method: str, cells: dict[str, str]) -> str:
    """What a caller should get by the table."""
    if cells["nobody"] == SIGN_IN and method not in SAFE and not caller.may_change:
        return COOKIE_REFUSED
    return cells[caller.column]


def seen(living: Living, answer: httpx.Response) -> str:
    """An answer in the words of the table."""
    code = answer.status_code
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        return f"{code} {answer.json()['type'].rpartition('/')[2]}"
    if answer.is_redirect:
        zoom = str(living.zoom.base_url).rstrip("/")
        places = {f"{living.settings.public_url}/j/": "door", living.settings.spa_url: "spa", zoom: "zoom"}
        location = answer.headers["location"]
        return f"{code} {next((name for start, name in places.items() if location.startswith(start)), location)}"
    return str(code)


@pytest.mark.parametrize("route", TABLE)
async def test_a_route_answers_every_caller_as_the_table_says(route: str, scene: Scene, elsewhere: KeySet) -> None:
    method, cells = route.split(" ")[0], asdict(TABLE[route])
    callers = everybody(scene.living, elsewhere.url)
    wanted = {caller.name: expected(caller, method, cells) for caller in callers}
    refused = [caller for caller in callers if wanted[caller.name].startswith("4")]
    let_in = [caller for caller in callers if caller not in refused]
    target = await request(scene, route, community=COMMUNITY["id"])
    before = await scene.fingerprint()
    got = {caller.name: await answered(scene, target, caller) for caller in refused}
    after = await scene.fingerprint()
    for caller in let_in:
        # A slug is only a name; the platform, whose token lists no communities, says the id.
        community = COMMUNITY["id" if caller.name == "platform" else "slug"]
        got[caller.name] = await answered(scene, await request(scene, route, community=community), caller)
    assert got == wanted
    assert after == before, "a refused call changed something"
    assert elsewhere.asked == 0, "a token chose where its key is fetched from"


async def answered(scene: Scene, target: Mapping[str, Any], caller: Caller) -> str:
    """What a caller is answered, in the words of the table."""
    async with scene.living.api.stream(**target, headers=dict(caller.headers)) as answer:
        # A live stream has no end that one could wait for.
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
        return seen(scene.living, answer)
