"""An id of another community gets the same response as an unknown one, so nobody learns it exists."""

import json
import re
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.scenarios.security.access_matrix import ACCESS_MATRIX
from tests.scenarios.security.fixtures import OTHER_COMMUNITY, Communities, CommunityFixture, build_request, event_body
from tests.support.service import COMMUNITY

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
# The webhook endpoint never reveals whether it knows an account, so it has no neighbour.
TEMPLATES = [
    (route, name)
    for route in ACCESS_MATRIX
    for name in re.findall(r"{(\w+)}", route)
    if name in UNKNOWN and not route.startswith("POST /api/integrations/zoom/webhooks")
]
# For the platform no community is foreign, nor an event. But an account still belongs to one community.
BY_PLATFORM = [(route, name, "platform") for route, name in TEMPLATES if "{community}" in route and name != "community"]
OF_EVERY_ANSWER = {"date", "x-request-id"}


async def send(communities: Communities, who: str, arguments: dict[str, Any]) -> httpx.Response:
    """Return the response to a person's request."""
    return await communities.request_as(who, arguments["method"], arguments["url"], json=arguments.get("json"))


def comparable(response: httpx.Response, ids: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Return what to compare of a response.

    That is all but the path it repeats and the headers that are always new.
    """
    headers = {name: value for name, value in response.headers.items() if name not in OF_EVERY_ANSWER}
    body = response.content
    if headers["content-type"] == "application/problem+json":
        body = body.replace(response.request.url.path.encode(), b"<path>")
        headers.pop("content-length")
    for name, value in ids.items():
        assert value.encode() not in body, f"the answer repeats {name}"
    return response.status_code, headers, body


@pytest.mark.parametrize(
    ("route", "name", "who"), [(*place, who) for place in TEMPLATES for who in ("admin", "member")] + BY_PLATFORM
)
async def test_a_foreign_id_in_a_path_is_answered_like_an_unknown_one(
    route: str, name: str, who: str, communities: Communities
) -> None:
    foreign, unknown = getattr(communities.other, name), UNKNOWN[name]
    own_community = {"community": COMMUNITY["id"]}
    requests = [
        await build_request(communities, route, **own_community | {name: value}) for value in (foreign, unknown)
    ]
    before = await communities.table_digests()
    responses = [await send(communities, who, one) for one in requests]
    assert responses[0].status_code in {403, 404}, responses[0].text
    assert comparable(responses[0], {name: foreign}) == comparable(responses[1], {name: unknown})
    assert await communities.table_digests() == before


@pytest.mark.parametrize("route", [route for route, name in TEMPLATES if name == "community"])
async def test_an_admin_elsewhere_sees_of_a_community_what_is_seen_of_none(
    route: str, communities: Communities
) -> None:
    requests = [
        await build_request(communities, route, community=community)
        for community in (communities.own.community, "none")
    ]
    responses = [await send(communities, "neighbour", one) for one in requests]
    assert responses[0].status_code == 404
    assert comparable(responses[0], {}) == comparable(responses[1], {})


BODIES: list[tuple[str, str, dict[str, Any]]] = [
    ("host_id", "host_id", {"delivery_mode": "zoom"}),
    ("alternative_hosts", "host_id", {"delivery_mode": "zoom"}),
    ("space_id", "space_id", {}),
]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(("field", "kind", "others"), BODIES)
async def test_a_foreign_id_in_a_body_is_a_wrong_field_like_an_unknown_one(
    field: str, kind: str, others: dict[str, Any], method: str, communities: Communities
) -> None:
    own = asdict(communities.own)
    responses = []
    event_id = await communities.create_event()
    before = await communities.table_digests()
    for value in (getattr(communities.other, kind), UNKNOWN[kind]):
        changes = others | (
            {field: [value], "host_id": own["host_id"]} if field == "alternative_hosts" else {field: value}
        )
        if method == "POST":
            path = f"/api/communities/{own['community']}/events"
            body = event_body(communities.service, **changes)
        else:
            path = f"/api/events/{event_id}"
            body = changes
        responses.append(await communities.request_as("admin", method, path, json=body))
    assert responses[0].status_code == 422, responses[0].text
    assert [entry["field"].split(".")[0] for entry in responses[0].json()["errors"]] == [field]
    assert comparable(responses[0], {}) == comparable(responses[1], {})
    assert await communities.table_digests() == before


@pytest.mark.parametrize(
    ("path", "parameter", "kind"),
    [
        ("/api/communities/{community}/events", "space", "space_id"),
        ("/api/me/events", "space", "space_id"),
        ("/api/communities/{community}/integrations/zoom/hosts", "exclude_event_id", "event_id"),
    ],
)
async def test_a_foreign_id_in_a_query_is_answered_like_an_unknown_one(
    path: str, parameter: str, kind: str, communities: Communities
) -> None:
    responses = [
        await communities.request_as(
            "admin", "GET", path.format_map(asdict(communities.own)), params={parameter: value}
        )
        for value in (getattr(communities.other, kind), UNKNOWN[kind])
    ]
    assert responses[0].status_code in {200, 422}, responses[0].text
    assert comparable(responses[0], {}) == comparable(responses[1], {})


async def test_a_link_of_another_event_and_one_that_nobody_has_are_the_same_wrong_field(
    communities: Communities,
) -> None:
    path = f"/api/events/{communities.own.event_id}/zoom-join"
    responses = [
        await communities.request_as("registered", "POST", path, json={"link": link})
        for link in (communities.other.join_link, "A" * len(communities.other.join_link))
    ]
    assert [entry["field"] for entry in responses[0].json()["errors"]] == ["link"]
    assert comparable(responses[0], {}) == comparable(responses[1], {})


async def test_a_foreign_handle_is_answered_like_an_unknown_one(communities: Communities) -> None:
    path = f"/api/communities/{communities.own.community}/integrations/zoom/connect/confirm"
    handle = await communities.create_connect_handle()
    responses = [
        await communities.request_as("owner", "POST", path, json={"handle": tried})
        for tried in (handle, "A" * len(handle))
    ]
    assert responses[0].status_code == 422
    assert comparable(responses[0], {}) == comparable(responses[1], {})


async def test_the_webhook_endpoint_does_not_reveal_which_accounts_exist(communities: Communities) -> None:
    """The app's secret signs the requests. It does not count for an account's own endpoint."""
    body = json.dumps({"event": "meeting.started", "payload": {}}).encode()
    responses = [
        await communities.service.api.post(f"/api/integrations/zoom/webhooks/{account}", content=body)
        for account in (communities.own.account_id, communities.other.account_id, str(uuid4()), "no-id-at-all")
    ]
    assert {answer.status_code for answer in responses} == {401}
    assert len({str(comparable(answer, {})) for answer in responses}) == 1


def test_the_neighbour_has_one_of_each_kind(communities: Communities) -> None:
    """Without this, the tests above would compare two unknown ids."""
    other: CommunityFixture = communities.other
    assert other.community == OTHER_COMMUNITY
    assert all(getattr(other, name) != getattr(communities.own, name) for name in asdict(other))


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
    path: str, name: str, who: str, communities: Communities
) -> None:
    own, foreign, unknown = (
        {"space": each["space_id"], "exclude_event_id": each["event_id"]}
        for each in (asdict(communities.own), asdict(communities.other), UNKNOWN)
    )
    url = path.format_map(vars(communities.own))
    answers = [await communities.request_as(who, "GET", url, params={name: each[name]}) for each in (foreign, unknown)]
    compared = [comparable(answer, {}) for answer in answers]
    assert compared[0] == compared[1]
    for answer in answers:
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [name]
    assert (await communities.request_as(who, "GET", url, params={name: own[name]})).status_code == 200
