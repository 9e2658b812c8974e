"""A change of an event is reversed while the outcome of Zoom's call is unknown: the last one counts.

The response is lost, or the worker dies before it records it. This holds for every call about a meeting.
"""

import re
from datetime import datetime, timedelta
from pathlib import Path as File
from typing import Any

import pytest

from app.devstack.mailbox import Mailbox
from tests.scenarios.crash_points.final_state import FinalState
from tests.scenarios.crash_points.harness import Context, Harness, Scenario
from tests.scenarios.crash_points.test_crash_recovery import (
    EVENTS,
    cancel,
    connected_account,
    event_on_zoom,
    rename,
    to_native,
)
from tests.support.service import RunningService, run_service

CALL = re.compile(r": answered (POST|PATCH|DELETE) /v2/")
OPERATIONS = {"POST": "meetingCreate", "PATCH": "meetingUpdate", "DELETE": "meetingDelete"}


async def patch_event(service: RunningService, context: Context, **changes: Any) -> None:
    """PATCH the event as an admin."""
    (await service.patch("admin", f"/api/events/{context['event']}", changes)).raise_for_status()


async def event_with_other_host(service: RunningService) -> Context:
    """An event on Zoom, and another host for it."""
    context = await event_on_zoom(service)
    return context | {"other": (await service.hosts())["ben@riverside.example"]["id"]}


async def create(service: RunningService, context: Context) -> None:
    """Schedule an event on Zoom."""
    answer = await service.post("admin", EVENTS, context["body"])
    answer.raise_for_status()
    context["event"] = answer.json()["id"]


async def rename_back(service: RunningService, context: Context) -> None:
    """Restore the old title."""
    await patch_event(service, context, title=context["body"]["title"])


async def rewrite(service: RunningService, context: Context) -> None:
    """Change everything that can be changed at Zoom without another meeting."""
    hour = timedelta(hours=1)
    body = context["body"]
    times = {name: (datetime.fromisoformat(body[name]) + hour).isoformat() for name in ("starts_at", "ends_at")}
    changes = {"title": "Late evening", "description": "Bring tea.", "timezone": "America/New_York", **times}
    await patch_event(service, context, alternative_hosts=[context["other"]], **changes)


async def rewrite_back(service: RunningService, context: Context) -> None:
    """Restore everything."""
    before = {name: context["body"][name] for name in ("title", "starts_at", "ends_at", "timezone")}
    await patch_event(service, context, description="", alternative_hosts=[], **before)


async def change_to_other_host(service: RunningService, context: Context) -> None:
    """Give the event to the other host."""
    await patch_event(service, context, host_id=context["other"])


async def change_back_to_first_host(service: RunningService, context: Context) -> None:
    """Give the event back to the first host."""
    await patch_event(service, context, host_id=context["body"]["host_id"])


async def to_zoom(service: RunningService, context: Context) -> None:
    """Put the event on Zoom again."""
    await patch_event(service, context, delivery_mode="zoom", host_id=context["body"]["host_id"])


REVERSED_CHANGES = [
    Scenario("creating and renaming", connected_account, create, reversal=rename),
    Scenario("creating and cancelling", connected_account, create, reversal=cancel),
    Scenario("renaming and back", event_on_zoom, rename, reversal=rename_back),
    Scenario("rewriting and back", event_with_other_host, rewrite, reversal=rewrite_back),
    Scenario("renaming and cancelling", event_on_zoom, rename, reversal=cancel),
    Scenario("another host and back", event_with_other_host, change_to_other_host, reversal=change_back_to_first_host),
    Scenario("off Zoom and back", event_on_zoom, to_native, reversal=to_zoom),
]


def visible_differences(end: FinalState, other: FinalState) -> list[str]:
    """Return the differences at Zoom, and dead jobs. The number of meetings in between may differ."""
    ours, theirs = (FinalState({"dead rows": each.tables["dead rows"]}, each.zoom, []) for each in (end, other))
    return ours.differences(theirs)


@pytest.mark.parametrize("scenario", REVERSED_CHANGES, ids=lambda path: path.name.replace(" ", "-"))
async def test_after_a_lost_answer_and_a_change_of_mind_zoom_has_what_is_wanted_last(
    scenario: Scenario, database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: File
) -> None:
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        harness = Harness(service, scenario, tmp_path)
        snapshot = await harness.take_snapshot()
        undisturbed, boundaries = await harness.run_undisturbed(snapshot)
        at = {boundary: found[1] for boundary in boundaries if (found := CALL.search(boundary))}
        assert at, "the path changes nothing at Zoom"
        ends = {f"killed at {each}": await harness.run_killed_at(snapshot, each) for each in at}
        for method in sorted(set(at.values())):
            ends[f"no answer to {method}"] = await harness.run_with_lost_response(snapshot, OPERATIONS[method])
    passed = {name: visible_differences(undisturbed, end) for name, end in ends.items() if end is not None}
    assert len(passed) >= len(set(at.values())), "nothing was disturbed"
    assert not any(passed.values()), "\n".join(f"{name}: {lines}" for name, lines in passed.items() if lines)
