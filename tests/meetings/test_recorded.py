"""That Zoom holds a recording is known: told in any order and number, or, where nothing was told, by asking."""

import json
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest

from app.clients.zoom.notifications import parse
from app.meetings.recorded import uuids
from tests.attendance.house import inside, to_minute
from tests.living import Living
from tests.meetings.house import at_zoom, calls, down, faults, grant, later, lost_notification, outbox, seen, switch

LISTING, ASK = "cloud_recording:read:list_recording_files", "recordingGet"
NONE, ONE, TWO = ({"count": count, "state": "at_zoom" if count else "none"} for count in range(3))
COMPLETED, TRANSCRIPT = "recording.completed", "recording.transcript_completed"
TRASHED, DELETED, RECOVERED = "recording.trashed", "recording.deleted", "recording.recovered"


async def held(living: Living, event: dict[str, Any], starts: float = 0, ends: float = 60) -> None:
    """The event's meeting runs from one minute of it to another."""
    await to_minute(living, event, starts)
    await inside(living, event, "start", host_joins=False)
    await living.quiet()
    await to_minute(living, event, ends)
    await inside(living, event, "end")
    await living.quiet()


async def evening(living: Living, *scopes: str) -> dict[str, Any]:
    """An event that was held and is over, on an account that has granted these scopes too."""
    await grant(living, *scopes)
    await living.connect()
    event: dict[str, Any] = await living.event()
    await held(living, event)
    return event


async def recordings(living: Living, event: dict[str, Any], who: str = "member") -> Any:
    """What somebody sees of the recordings, once everything said is taken down."""
    await living.quiet()
    return (await seen(living, event, who))["recordings"]


async def told(living: Living, event: dict[str, Any], kind: str, minute: float, **about: Any) -> None:
    """Zoom says something of recordings, as it was at a minute of the event; each time in other bytes. It is of the
    first instance, unless `about` says otherwise."""
    meeting = next(each for each in await at_zoom(living) if str(each["id"]) == event["zoom"]["meeting_id"])
    uuid = meeting["instances"][0]["uuid"] if meeting["instances"] else ""
    spoke_at = datetime.fromisoformat(event["starts_at"]) + timedelta(minutes=minute)
    document = {
        "event": kind,
        "event_ts": int(spoke_at.timestamp() * 1000),
        "payload": {
            "account_id": meeting["account_id"],
            "object": about or {"id": meeting["id"], "uuid": uuid, "host_id": meeting["host_id"]},
        },
        "attempt": str(uuid4()),
    }
    sent = await living.zoom.post("/simulator/notifications", json={"body": json.dumps(document)})
    assert sent.json()["status"] == 204, sent.text
    await living.quiet()


async def forget(living: Living) -> None:
    """As if Zoom had said nothing of recordings."""
    await living.held.db.hot.execute("UPDATE instances SET recording_held = NULL, recording_said_at = NULL")


async def silent(living: Living) -> None:
    """Zoom tells of no recording from now on."""
    await faults(living, notifications=(lost_notification(COMPLETED, None), lost_notification(TRANSCRIPT, None)))


async def test_a_recording_zoom_tells_of_is_shown_to_everybody_and_never_where_it_is(living: Living) -> None:
    event = await evening(living)
    assert await recordings(living, event) == NONE
    recorded = await inside(living, event, "record")
    for who in ("member", "coach", "admin"):
        assert await recordings(living, event, who) == ONE
    share_url = recorded["instances"][0]["recording"]["share_url"]
    shown = (await living.get("admin", f"/api/events/{event['id']}")).text
    assert share_url not in shown
    assert "/rec/" not in shown
    await later(living, 24 * 60)
    assert await calls(living, ASK) == []


async def test_every_holding_is_a_recording_of_its_own_and_a_rehearsal_is_none(living: Living) -> None:
    await living.connect()
    event = await living.event()
    await held(living, event, -40, -30)
    await inside(living, event, "record")
    assert await recordings(living, event) == NONE
    await held(living, event, 0, 20)
    await inside(living, event, "record")
    await held(living, event, 30, 60)
    await inside(living, event, "record")
    await inside(living, event, "record")
    assert await recordings(living, event) == TWO


async def test_a_transcript_alone_tells_that_there_is_a_recording(living: Living) -> None:
    event = await evening(living)
    await faults(living, notifications=(lost_notification(COMPLETED),))
    await inside(living, event, "record")
    assert await recordings(living, event) == NONE
    await inside(living, event, "transcript")
    assert await recordings(living, event) == ONE


async def test_zooms_last_word_counts_in_whatever_order_and_number_it_comes(living: Living) -> None:
    event = await evening(living)
    for last, shown in ((RECOVERED, ONE), (DELETED, NONE)):
        for order in permutations(((COMPLETED, 70), (TRASHED, 80), (last, 90))):
            for word in (*order, order[0]):
                await told(living, event, *word)
            assert await recordings(living, event) == shown, order
            await forget(living)


@pytest.mark.parametrize("order", [(COMPLETED, DELETED), (DELETED, COMPLETED)])
async def test_of_two_words_of_one_moment_gone_is_the_last(living: Living, order: tuple[str, ...]) -> None:
    event = await evening(living)
    for kind in order:
        await told(living, event, kind, 70)
    assert await recordings(living, event) == NONE


async def test_what_is_trashed_and_brought_back_in_a_batch_is_followed(living: Living) -> None:
    event = await evening(living)
    await inside(living, event, "record")
    assert await recordings(living, event) == ONE
    (uuid,) = [row["uuid"] for row in await living.held.db.hot.fetch("SELECT uuid FROM instances")]
    await told(living, event, "recording.batch_trashed", 200, meeting_uuids=["elsewhere==", uuid])
    assert await recordings(living, event) == NONE
    await told(living, event, "recording.batch_recovered", 210, meetings=[{"meeting_uuid": uuid}])
    assert await recordings(living, event) == ONE


async def test_a_recording_of_an_instance_never_heard_of_makes_nothing_live_or_over(living: Living) -> None:
    await living.connect()
    event = await living.event()
    every = tuple(lost_notification(f"meeting.{kind}", None) for kind in ("started", "ended"))
    await faults(living, notifications=every)
    await to_minute(living, event, -60)
    await inside(living, event, "start", host_joins=False)
    await inside(living, event, "record")
    await inside(living, event, "end")
    assert await recordings(living, event) == ONE
    assert (await seen(living, event))["status"] == "scheduled"
    await faults(living)
    await held(living, event)
    assert (await seen(living, event))["status"] == "ended"
    rows = await living.held.db.hot.fetch("SELECT started_at, ended_at FROM instances ORDER BY started_at")
    assert [(row["started_at"] is None, row["ended_at"] is None) for row in rows] == [(False, False), (True, True)]


async def test_a_recording_zoom_did_not_tell_of_is_found_by_asking(living: Living) -> None:
    event = await evening(living, LISTING)
    await silent(living)
    await inside(living, event, "record")
    await later(living, 15)
    assert (await recordings(living, event), await calls(living, ASK)) == (NONE, [])
    await later(living, 6)
    assert await recordings(living, event) == ONE
    await later(living, 24 * 60)
    assert len(await calls(living, ASK)) == 1
    assert await outbox(living, "meetings.ask_recording") == []


async def test_no_answer_says_that_there_is_no_recording_and_asking_ends(living: Living) -> None:
    event = await evening(living, LISTING)
    await silent(living)
    for minutes, asked in ((21, 1), (60, 1), (50, 2)):
        await later(living, minutes)
        assert len(await calls(living, ASK)) == asked
    assert await recordings(living, event) == NONE
    await inside(living, event, "record")
    await later(living, 10 * 60)
    assert await recordings(living, event) == ONE
    await forget(living)
    await later(living, 2 * 24 * 60)
    assert len(await calls(living, ASK)) == 3


async def test_a_zoom_that_is_down_is_asked_again(living: Living) -> None:
    event = await evening(living, LISTING)
    await silent(living)
    await inside(living, event, "record")
    await faults(living, down(ASK), notifications=(lost_notification(COMPLETED, None),))
    await later(living, 21)
    assert await recordings(living, event) == NONE
    assert await outbox(living, "meetings.ask_recording")
    await faults(living)
    await later(living, 11)
    assert await recordings(living, event) == ONE


async def test_a_recording_trashed_after_we_asked_is_gone_and_one_trashed_before_is_not_asked_for(
    living: Living,
) -> None:
    event = await evening(living, LISTING)
    await silent(living)
    await inside(living, event, "record")
    await later(living, 21)
    assert await recordings(living, event) == ONE
    await told(living, event, COMPLETED, 62)
    assert await recordings(living, event) == ONE
    await told(living, event, TRASHED, 200)
    assert await recordings(living, event) == NONE
    await later(living, 24 * 60)
    assert (await recordings(living, event), len(await calls(living, ASK))) == (NONE, 1)


async def test_without_the_scope_nobody_asks_and_nothing_breaks(living: Living) -> None:
    event = await evening(living)
    await silent(living)
    await inside(living, event, "record")
    for minutes in (21, 120, 12 * 60):
        await later(living, minutes)
    assert await recordings(living, event) == NONE
    assert await calls(living, ASK) == []
    assert await outbox(living, "meetings.ask_recording") == []


async def test_a_scope_taken_back_without_a_word_is_a_no(living: Living) -> None:
    event = await evening(living, LISTING)
    await silent(living)
    await inside(living, event, "record")
    refused = {"code": 4711, "message": f"Invalid access token, does not contain scopes:[{LISTING}]."}
    await faults(living, {"kind": "status", "operation": ASK, "status": 400, "body": refused, "times": None})
    for minutes in (21, 120, 12 * 60):
        await later(living, minutes)
    assert len(await calls(living, ASK)) == 3
    assert await outbox(living, "meetings.ask_recording") == []
    assert await recordings(living, event) == NONE


async def test_a_free_host_is_never_asked_for_recordings(living: Living) -> None:
    await grant(living, LISTING)
    await switch(living, enforce_limits=False)
    await living.connect(as_="wil@willow.example")
    (host,) = (await living.hosts()).values()
    event = await living.event(host_id=host["id"])
    await held(living, event)
    refused = await living.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/record")
    assert refused.status_code == 409
    await later(living, 13 * 60)
    assert (await recordings(living, event), await calls(living, ASK)) == (NONE, [])


async def test_what_was_not_to_be_recorded_is_not_asked_for_but_what_zoom_tells_counts(living: Living) -> None:
    await grant(living, LISTING)
    await living.connect()
    event = await living.event()
    path = f"/simulator/meetings/{event['zoom']['meeting_id']}/edit"
    (await living.zoom.post(path, json={"settings": {"auto_recording": "none"}})).raise_for_status()
    await held(living, event)
    await later(living, 13 * 60)
    assert await calls(living, ASK) == []
    await inside(living, event, "record")
    assert await recordings(living, event) == ONE


async def test_a_recording_of_a_foreign_meeting_is_nobodys(living: Living) -> None:
    event = await evening(living)
    await told(living, event, COMPLETED, 70, id=987654321, uuid="elsewhere==")
    rows = await living.held.db.hot.fetch("SELECT uuid FROM instances")
    assert (await recordings(living, event), len(rows)) == (NONE, 1)


def test_whatever_a_batch_holds_only_uuids_are_read_of_it() -> None:
    about = {"meetings": [{"meeting_uuid": "b=="}, {"meeting_uuid": 1.5}, None, "c=="], "meeting_uuids": {"a": 1}}
    said = {"event": "recording.batch_deleted", "payload": {"object": about | {"uuid": "a=="}}}
    assert uuids(parse(json.dumps(said).encode())) == ["a==", "b==", "c=="]
