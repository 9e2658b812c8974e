"""An answer of Zoom's is lost, or the worker dies before it writes it down, and then somebody changes their mind: Zoom
ends with what is wanted last, whichever call about a meeting it was."""

import re
from datetime import datetime, timedelta
from pathlib import Path as File
from typing import Any

import pytest

from app.demo.mailbox import Mailbox
from tests.boundary.ends import End
from tests.boundary.harness import Harness, Known, Path
from tests.boundary.test_paths import EVENTS, an_account, an_event, cancel, rename, to_native
from tests.living import Living, alive

CALL = re.compile(r": answered (POST|PATCH|DELETE) /v2/")
OPERATIONS = {"POST": "meetingCreate", "PATCH": "meetingUpdate", "DELETE": "meetingDelete"}


async def wish(living: Living, known: Known, **wishes: Any) -> None:
    """An admin changes the event."""
    (await living.patch("admin", f"/api/events/{known['event']}", wishes)).raise_for_status()


async def an_event_with_choices(living: Living) -> Known:
    """An event on Zoom, and another host it could have."""
    known = await an_event(living)
    return known | {"other": (await living.hosts())["ben@riverside.example"]["id"]}


async def create(living: Living, known: Known) -> None:
    """An admin schedules an event on Zoom."""
    answer = await living.post("admin", EVENTS, known["body"])
    answer.raise_for_status()
    known["event"] = answer.json()["id"]


async def rename_back(living: Living, known: Known) -> None:
    """The old title was better."""
    await wish(living, known, title=known["body"]["title"])


async def rewrite(living: Living, known: Known) -> None:
    """An admin changes everything that can be changed at Zoom without another meeting."""
    hour, body = timedelta(hours=1), known["body"]
    times = {name: (datetime.fromisoformat(body[name]) + hour).isoformat() for name in ("starts_at", "ends_at")}
    said = {"title": "Late evening", "description": "Bring tea.", "timezone": "America/New_York", **times}
    await wish(living, known, alternative_hosts=[known["other"]], **said)


async def rewrite_back(living: Living, known: Known) -> None:
    """Everything was better before."""
    before = {name: known["body"][name] for name in ("title", "starts_at", "ends_at", "timezone")}
    await wish(living, known, description="", alternative_hosts=[], **before)


async def other_host(living: Living, known: Known) -> None:
    """Another host is to lead it."""
    await wish(living, known, host_id=known["other"])


async def first_host(living: Living, known: Known) -> None:
    """The first host leads it after all."""
    await wish(living, known, host_id=known["body"]["host_id"])


async def to_zoom(living: Living, known: Known) -> None:
    """It is on Zoom after all."""
    await wish(living, known, delivery_mode="zoom", host_id=known["body"]["host_id"])


REGRETS = [
    Path("creating and renaming", an_account, create, regret=rename),
    Path("creating and cancelling", an_account, create, regret=cancel),
    Path("renaming and back", an_event, rename, regret=rename_back),
    Path("rewriting and back", an_event_with_choices, rewrite, regret=rewrite_back),
    Path("renaming and cancelling", an_event, rename, regret=cancel),
    Path("another host and back", an_event_with_choices, other_host, regret=first_host),
    Path("off Zoom and back", an_event, to_native, regret=to_zoom),
]


def differences(end: End, other: End) -> list[str]:
    """What is otherwise at Zoom, or was given up: how many meetings there were in between may differ."""
    ours, theirs = (End({"dead rows": each.tables["dead rows"]}, each.zoom, []) for each in (end, other))
    return ours.differences(theirs)


@pytest.mark.parametrize("path", REGRETS, ids=lambda path: path.name.replace(" ", "-"))
async def test_after_a_lost_answer_and_a_change_of_mind_zoom_has_what_is_wanted_last(
    path: Path, database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: File
) -> None:
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        harness = Harness(living, path, tmp_path)
        beginning = await harness.begin()
        undisturbed, boundaries = await harness.boundaries(beginning)
        at = {boundary: found[1] for boundary in boundaries if (found := CALL.search(boundary))}
        assert at, "the path changes nothing at Zoom"
        ends = {f"killed at {each}": await harness.killed(beginning, each) for each in at}
        for method in sorted(set(at.values())):
            ends[f"no answer to {method}"] = await harness.unanswered(beginning, OPERATIONS[method])
    passed = {name: differences(undisturbed, end) for name, end in ends.items() if end is not None}
    assert len(passed) >= len(set(at.values())), "nothing was disturbed"
    assert not any(passed.values()), "\n".join(f"{name}: {lines}" for name, lines in passed.items() if lines)
