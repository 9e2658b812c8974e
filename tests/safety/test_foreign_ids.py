"""Nobody learns what exists elsewhere: an id of another community is answered like one that nobody ever gave out."""

import json
import re
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.living import COMMUNITY
from tests.safety.scene import ELSEWHERE, Scene, Things, new_event, request
from tests.safety.table import TABLE

UNKNOWN = {
    "community": "nowhere",
    "account_id": "6b1f2c4e-0000-4000-8000-000000000001",
    "host_id": "6b1f2c4e-0000-4000-8000-000000000002",
    "space_id": "6b1f2c4e-0000-4000-8000-000000000003",
    "event_id": "6b1f2c4e-0000-4000-8000-000000000004",
    "guest_id": "6b1f2c4e-0000-4000-8000-000000000005",
    "session_id": "6b1f2c4e-0000-4000-8000-000000000006",
    "hook_id": "6b1f2c4e-0000-4000-8000-000000000007",
    "message_id": "6b1f2c4e-0000-4000-8000-000000000008",
    "question_id": "6b1f2c4e-0000-4000-8000-000000000009",
}
# The ear never says whether it knows an account; to it nobody is a neighbour.
TEMPLATES = [
    (route, name)
    for route in TABLE
    for name in re.findall(r"{(\w+)}", route)
    if name in UNKNOWN and not route.startswith("POST /api/integrations/zoom/webhooks")
]
# To the platform no community is foreign, nor an event; but an account is still not another community's.
BY_PLATFORM = [(route, name, "platform") for route, name in TEMPLATES if "{community}" in route and name != "community"]
OF_EVERY_ANSWER = {"date", "x-request-id"}


async def tried(scene: Scene, who: str, asked: dict[str, Any]) -> httpx.Response:
    """The answer to a request of somebody."""
    return await scene.as_(who, asked["method"], asked["url"], json=asked.get("json"))


def bytes_of(answer: httpx.Response, ids: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """All that an answer says, apart from the path it repeats and the headers that are new in every answer."""
    headers = {name: value for name, value in answer.headers.items() if name not in OF_EVERY_ANSWER}
    body = answer.content
    if headers["content-type"] == "application/problem+json":
        body = body.replace(answer.request.url.path.encode(), b"<path>")
        headers.pop("content-length")
    for name, value in ids.items():
        assert value.encode() not in body, f"the answer repeats {name}"
    return answer.status_code, headers, body


@pytest.mark.parametrize(
    ("route", "name", "who"), [(*place, who) for place in TEMPLATES for who in ("admin", "member")] + BY_PLATFORM
)
async def test_a_foreign_id_in_a_path_is_answered_like_an_unknown_one(
    route: str, name: str, who: str, scene: Scene
) -> None:
    foreign, unknown = getattr(scene.there, name), UNKNOWN[name]
    here = {"community": COMMUNITY["id"]}
    asked = [await request(scene, route, **here | {name: value}) for value in (foreign, unknown)]
    before = await scene.fingerprint()
    said = [await tried(scene, who, one) for one in asked]
    assert said[0].status_code in {403, 404}, said[0].text
    assert bytes_of(said[0], {name: foreign}) == bytes_of(said[1], {name: unknown})
    assert await scene.fingerprint() == before


@pytest.mark.parametrize("route", [route for route, name in TEMPLATES if name == "community"])
async def test_an_admin_elsewhere_sees_of_a_community_what_is_seen_of_none(route: str, scene: Scene) -> None:
    asked = [await request(scene, route, community=community) for community in (scene.here.community, "none")]
    said = [await tried(scene, "neighbour", one) for one in asked]
    assert said[0].status_code == 404
    assert bytes_of(said[0], {}) == bytes_of(said[1], {})


BODIES: list[tuple[str, str, dict[str, Any]]] = [
    ("host_id", "host_id", {"delivery_mode": "zoom"}),
    ("alternative_hosts", "host_id", {"delivery_mode": "zoom"}),
    ("space_id", "space_id", {}),
]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(("field", "kind", "others"), BODIES)
async def test_a_foreign_id_in_a_body_is_a_wrong_field_like_an_unknown_one(
    field: str, kind: str, others: dict[str, Any], method: str, scene: Scene
) -> None:
    own, said = asdict(scene.here), []
    event_id = await scene.event()
    before = await scene.fingerprint()
    for value in (getattr(scene.there, kind), UNKNOWN[kind]):
        wishes = others | (
            {field: [value], "host_id": own["host_id"]} if field == "alternative_hosts" else {field: value}
        )
        if method == "POST":
            path, body = f"/api/communities/{own['community']}/events", new_event(scene.living, **wishes)
        else:
            path, body = f"/api/events/{event_id}", wishes
        said.append(await scene.as_("admin", method, path, json=body))
    assert said[0].status_code == 422, said[0].text
    assert [entry["field"].split(".")[0] for entry in said[0].json()["errors"]] == [field]
    assert bytes_of(said[0], {}) == bytes_of(said[1], {})
    assert await scene.fingerprint() == before


@pytest.mark.parametrize(
    ("path", "parameter", "kind"),
    [
        ("/api/communities/{community}/events", "space", "space_id"),
        ("/api/me/events", "space", "space_id"),
        ("/api/communities/{community}/integrations/zoom/hosts", "exclude_event_id", "event_id"),
    ],
)
async def test_a_foreign_id_in_a_query_is_answered_like_an_unknown_one(
    path: str, parameter: str, kind: str, scene: Scene
) -> None:
    said = [
        await scene.as_("admin", "GET", path.format_map(asdict(scene.here)), params={parameter: value})
        for value in (getattr(scene.there, kind), UNKNOWN[kind])
    ]
    assert said[0].status_code in {200, 422}, said[0].text
    assert bytes_of(said[0], {}) == bytes_of(said[1], {})


async def test_a_link_of_another_event_and_one_that_nobody_has_are_the_same_wrong_field(scene: Scene) -> None:
    path = f"/api/events/{scene.here.event_id}/zoom-join"
    said = [
        await scene.as_("registered", "POST", path, json={"link": link})
        for link in (scene.there.join_link, "A" * len(scene.there.join_link))
    ]
    assert [entry["field"] for entry in said[0].json()["errors"]] == ["link"]
    assert bytes_of(said[0], {}) == bytes_of(said[1], {})


async def test_a_foreign_handle_is_answered_like_an_unknown_one(scene: Scene) -> None:
    path, handle = f"/api/communities/{scene.here.community}/integrations/zoom/connect/confirm", await scene.handle()
    said = [await scene.as_("owner", "POST", path, json={"handle": tried}) for tried in (handle, "A" * len(handle))]
    assert said[0].status_code == 422
    assert bytes_of(said[0], {}) == bytes_of(said[1], {})


async def test_the_ear_does_not_say_which_accounts_it_knows(scene: Scene) -> None:
    """Signed with the app's secret, which counts for no account's own endpoint: a fact of the scene, not of the id."""
    body = json.dumps({"event": "meeting.started", "payload": {}}).encode()
    told = [
        await scene.living.api.post(f"/api/integrations/zoom/webhooks/{account}", content=body)
        for account in (scene.here.account_id, scene.there.account_id, str(uuid4()), "no-id-at-all")
    ]
    assert {answer.status_code for answer in told} == {401}
    assert len({str(bytes_of(answer, {})) for answer in told}) == 1


def test_the_neighbour_has_one_of_each_kind(scene: Scene) -> None:
    """Otherwise the tests above would compare the unknown with the unknown."""
    there: Things = scene.there
    assert there.community == ELSEWHERE
    assert all(getattr(there, name) != getattr(scene.here, name) for name in asdict(there))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/communities/{community}/events", "space"),
        ("/api/me/events", "space"),
        ("/api/me/events?role=hosting", "space"),
        ("/api/communities/{community}/integrations/zoom/hosts", "exclude_event_id"),
    ],
)
@pytest.mark.parametrize("who", ["admin", "coach"])
async def test_a_foreign_id_in_a_filter_is_named_like_an_unknown_one(
    path: str, name: str, who: str, scene: Scene
) -> None:
    own, foreign, unknown = (
        {"space": each["space_id"], "exclude_event_id": each["event_id"]}
        for each in (asdict(scene.here), asdict(scene.there), UNKNOWN)
    )
    url = path.format_map(vars(scene.here))
    answers = [await scene.as_(who, "GET", url, params={name: each[name]}) for each in (foreign, unknown)]
    said = [bytes_of(answer, {}) for answer in answers]
    assert said[0] == said[1]
    for answer in answers:
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [name]
    assert (await scene.as_(who, "GET", url, params={name: own[name]})).status_code == 200
