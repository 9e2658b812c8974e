"""Whoever was frozen past its lease writes nothing when it wakes, and says nothing that another has said otherwise."""

import re
from collections.abc import AsyncIterator
from pathlib import Path as File

import pytest
from fastapi import FastAPI, Request, Response

from app.demo.mailbox import Mailbox
from tests.boundary.harness import Harness, Known, Path
from tests.boundary.test_paths import (
    a_crowded_event,
    an_account,
    an_answered_event,
    an_event,
    change_host,
    come,
    create,
    rename,
    stay_away,
)
from tests.living import COMMUNITY, Living, alive, served

HOOKS = f"/api/communities/{COMMUNITY['slug']}/hooks"


class Endpoint:
    """An endpoint of the platform that fails at first, and what it was told: id and body."""

    def __init__(self) -> None:
        self.told, self.url = set[tuple[str, bytes]](), ""
        self.app = FastAPI()
        self.app.post("/hook")(self.hear)

    async def hear(self, request: Request) -> Response:
        """Take it down; the first time each message is refused."""
        said = (request.headers["webhook-id"], await request.body())
        first = said not in self.told
        self.told.add(said)
        return Response(status_code=500 if first else 204)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """An endpoint on this machine."""
    endpoint = Endpoint()
    async with served(endpoint.app) as url:
        endpoint.url = url
        yield endpoint


@pytest.fixture
def every(pytestconfig: pytest.Config) -> bool:
    """Whether a worker is to be frozen at all boundaries; otherwise it is at one of each kind."""
    return bool(pytestconfig.getoption("--every-boundary"))


def kind_of(boundary: str) -> str:
    """What is done at a boundary, be it before or after, whatever its number."""
    return re.sub(r" \d+: (before )?", ": ", boundary)


def one_of_each(boundaries: list[str]) -> list[str]:
    """The last boundary of each kind, before and after apart: by then most has been done."""
    return list({re.sub(r" \d+: ", ": ", boundary): boundary for boundary in boundaries}.values())


PATHS = [
    Path("inviting", an_event, come, meanwhile=stay_away, only=("registrations.invite",)),
    Path("registering", an_event, come, only=("registrations.sync",)),
    Path("creating a meeting", an_account, create, only=("meetings.sync",)),
]
# Walked by `make crash` alone: what they do goes through the same places.
FURTHER_PATHS = [
    Path("cancelling an invitation", an_answered_event, stay_away, meanwhile=come, only=("registrations.invite",)),
    Path("taking a registrant off", an_answered_event, stay_away, only=("registrations.sync",)),
    Path("batch", a_crowded_event, change_host, only=("registrations.batch",)),
    Path("renaming a meeting", an_answered_event, rename, only=("meetings.sync",)),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The paths a worker is frozen on."""
    if "path" in metafunc.fixturenames:
        further = FURTHER_PATHS if metafunc.config.getoption("--every-boundary") else []
        metafunc.parametrize("path", [*PATHS, *further], ids=lambda path: path.name.replace(" ", "-"))


async def test_wherever_a_worker_is_frozen_what_another_has_done_meanwhile_stands(
    path: Path, every: bool, database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: File
) -> None:
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        harness = Harness(living, path, tmp_path)
        beginning = await harness.begin()
        undisturbed, boundaries = await harness.boundaries(beginning, finer=True)
        assert boundaries, "the path has no boundary at all"
        walked = boundaries if every else one_of_each(boundaries)
        ends = {boundary: await harness.stopped(beginning, boundary) for boundary in walked}
    passed = {boundary: undisturbed.differences(end) for boundary, end in ends.items() if end is not None}
    # Two facts may be one run or two, so a boundary may come under another number, or one not come again.
    missed = {kind_of(at) for at in ends} - {kind_of(at) for at in passed}
    assert len(missed) <= 1, f"not passed again: {missed}"
    assert not any(passed.values()), "\n".join(f"stopped at {at}: {lines}" for at, lines in passed.items() if lines)


async def test_wherever_a_worker_is_frozen_a_hook_that_was_delivered_stays_delivered(
    every: bool, database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: File, endpoint: Endpoint
) -> None:
    """A message that is refused at first, so that there is something to be noted after each sending."""

    async def listening(living: Living) -> Known:
        known = await an_event(living)
        hook = {"url": f"{endpoint.url}/hook", "kinds": ["registration.changed"]}
        (await living.post("admin", HOOKS, hook)).raise_for_status()
        return known

    async def answer(living: Living, known: Known) -> None:
        endpoint.told.clear()
        await come(living, known)

    path = Path("telling", listening, answer, only=("hooks.send",))
    async with alive(database_url, redis_url, mailbox, worker=False, hook_origins=endpoint.url) as living:
        harness = Harness(living, path, tmp_path)
        beginning = await harness.begin()
        _, boundaries = await harness.boundaries(beginning, finer=True)
        for boundary in boundaries if every else one_of_each(boundaries):
            await harness.stopped(beginning, boundary)
            states = await living.held.db.hot.fetch(
                "SELECT state, (SELECT count(*) FROM hook_attempts WHERE message_id = hook_messages.id) = attempts"
                " FROM hook_messages"
            )
            assert [tuple(row) for row in states] == [("delivered", True)], boundary
            assert len(endpoint.told) == 1, f"{boundary}: one message, and one body of it"
    assert {boundary.partition(": ")[2] for boundary in boundaries} > {"taken", "before write", "committed"}
