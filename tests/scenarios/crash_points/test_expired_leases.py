"""A worker frozen past its lease writes nothing when it wakes up, and sends nothing outdated."""

import re
from collections.abc import AsyncIterator
from pathlib import Path as File

import pytest
from fastapi import FastAPI, Request, Response

from app.devstack.mailbox import Mailbox
from tests.scenarios.crash_points.harness import Context, Harness, Scenario
from tests.scenarios.crash_points.test_crash_recovery import (
    change_host,
    connected_account,
    create,
    event_on_zoom,
    event_with_batch,
    event_with_member,
    rename,
    rsvp_going,
    rsvp_not_going,
)
from tests.support.service import COMMUNITY, RunningService, run_service, serve

HOOKS = f"/api/communities/{COMMUNITY['slug']}/hooks"


class FailingEndpoint:
    """An endpoint of the platform that fails at first. It records id and body of each message."""

    def __init__(self) -> None:
        self.received = set[tuple[str, bytes]]()
        self.url = ""
        self.app = FastAPI()
        self.app.post("/hook")(self.receive)

    async def receive(self, request: Request) -> Response:
        """Record a message. Each one is refused the first time."""
        message = (request.headers["webhook-id"], await request.body())
        first = message not in self.received
        self.received.add(message)
        return Response(status_code=500 if first else 204)


@pytest.fixture
async def endpoint() -> AsyncIterator[FailingEndpoint]:
    """An endpoint on this machine."""
    endpoint = FailingEndpoint()
    async with serve(endpoint.app) as url:
        endpoint.url = url
        yield endpoint


@pytest.fixture
def every_boundary(pytestconfig: pytest.Config) -> bool:
    """Whether to freeze a worker at all boundaries, or at one of each kind."""
    return bool(pytestconfig.getoption("--every-boundary"))


def kind_of(boundary: str) -> str:
    """Return what is done at a boundary, whether before or after it, and whatever its number."""
    return re.sub(r" \d+: (before )?", ": ", boundary)


def one_of_each(boundaries: list[str]) -> list[str]:
    """Return the last boundary of each kind, with before and after apart. By then most has been done."""
    return list({re.sub(r" \d+: ", ": ", boundary): boundary for boundary in boundaries}.values())


SCENARIOS = [
    Scenario("inviting", event_on_zoom, rsvp_going, meanwhile=rsvp_not_going, only_jobs=("invitations.send",)),
    Scenario("registering", event_on_zoom, rsvp_going, only_jobs=("registrants.sync",)),
    Scenario("creating a meeting", connected_account, create, only_jobs=("meetings.sync",)),
]
# Only `make crash` runs these, because what they do goes through the same places.
FURTHER_SCENARIOS = [
    Scenario(
        "cancelling an invitation",
        event_with_member,
        rsvp_not_going,
        meanwhile=rsvp_going,
        only_jobs=("invitations.send",),
    ),
    Scenario("taking a registrant off", event_with_member, rsvp_not_going, only_jobs=("registrants.sync",)),
    Scenario("batch", event_with_batch, change_host, only_jobs=("registrants.add_batch",)),
    Scenario("renaming a meeting", event_with_member, rename, only_jobs=("meetings.sync",)),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the scenarios during which a worker is frozen."""
    if "scenario" in metafunc.fixturenames:
        further = FURTHER_SCENARIOS if metafunc.config.getoption("--every-boundary") else []
        metafunc.parametrize("scenario", [*SCENARIOS, *further], ids=lambda path: path.name.replace(" ", "-"))


async def test_wherever_a_worker_is_frozen_what_another_has_done_meanwhile_stands(
    scenario: Scenario, every_boundary: bool, database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: File
) -> None:
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        harness = Harness(service, scenario, tmp_path)
        snapshot = await harness.take_snapshot()
        undisturbed, boundaries = await harness.run_undisturbed(snapshot, fine_grained=True)
        assert boundaries, "the path has no boundary at all"
        walked = boundaries if every_boundary else one_of_each(boundaries)
        ends = {boundary: await harness.run_stopped_at(snapshot, boundary) for boundary in walked}
    passed = {boundary: undisturbed.differences(end) for boundary, end in ends.items() if end is not None}
    # Two facts may become one run or two, so a boundary may have another number, or not occur again.
    missed = {kind_of(at) for at in ends} - {kind_of(at) for at in passed}
    assert len(missed) <= 1, f"not passed again: {missed}"
    assert not any(passed.values()), "\n".join(f"stopped at {at}: {lines}" for at, lines in passed.items() if lines)


async def test_wherever_a_worker_is_frozen_a_hook_that_was_delivered_stays_delivered(
    every_boundary: bool, database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: File, endpoint: FailingEndpoint
) -> None:
    """The endpoint refuses each message at first, so that the job records something after each attempt."""

    async def event_with_hook(service: RunningService) -> Context:
        context = await event_on_zoom(service)
        hook = {"url": f"{endpoint.url}/hook", "kinds": ["registration.changed"]}
        (await service.post("admin", HOOKS, hook)).raise_for_status()
        return context

    async def rsvp(service: RunningService, context: Context) -> None:
        endpoint.received.clear()
        await rsvp_going(service, context)

    scenario = Scenario("telling", event_with_hook, rsvp, only_jobs=("hooks.send",))
    async with run_service(database_url, redis_url, mailbox, worker=False, hook_origins=endpoint.url) as service:
        harness = Harness(service, scenario, tmp_path)
        snapshot = await harness.take_snapshot()
        _, boundaries = await harness.run_undisturbed(snapshot, fine_grained=True)
        for boundary in boundaries if every_boundary else one_of_each(boundaries):
            await harness.run_stopped_at(snapshot, boundary)
            states = await service.resources.db.pool.fetch(
                "SELECT state, (SELECT count(*) FROM hook_attempts WHERE message_id = hook_messages.id) = attempts"
                " FROM hook_messages"
            )
            assert [tuple(row) for row in states] == [("delivered", True)], boundary
            assert len(endpoint.received) == 1, f"{boundary}: one message, and one body of it"
    assert {boundary.partition(": ")[2] for boundary in boundaries} > {"taken", "before write", "committed"}
