import json
import time
from datetime import UTC, datetime

from app.simulator.simulator import Simulator
from tests.simulator.conftest import Receiver
from tests.simulator.driver import ADA, ADMIN_SCOPES, BEN, SECRET, WIL, ZoomDriver, signed, wait_for_deliveries
from tests.support.timeouts import TIMEOUT

SCHEDULED = {"uuid", "id", "host_id", "topic", "type", "duration", "timezone", "start_time"}


async def reconnect(zoom: ZoomDriver, *scopes: str) -> None:
    """Replace all grants by one with these scopes."""
    await zoom.control("POST", "/deauthorize", {"user": ADA, "notify": False})
    await zoom.control("PUT", "/app", {"scopes": scopes})
    await zoom.connect()


async def test_a_notification_looks_like_zooms(live: ZoomDriver, receiver: Receiver) -> None:
    meeting = await live.meeting(topic="Chœur „São“ / 合唱")
    await wait_for_deliveries(live)
    ((headers, body),) = receiver.received
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["user-agent"] == "Zoom Marketplace/1.0a"
    assert headers["clientid"] == "client-id"
    assert headers["x-zm-trackingid"]
    assert abs(int(headers["x-zm-request-timestamp"]) - time.time()) < TIMEOUT
    assert signed(SECRET, headers, body)
    document = json.loads(body)
    assert document.keys() == {"event", "event_ts", "payload"}
    assert abs(document["event_ts"] - time.time() * 1000) < TIMEOUT * 1000
    assert document["payload"]["object"]["topic"] == "Chœur „São“ / 合唱"
    assert document["payload"]["object"]["id"] == meeting["id"]
    assert document["payload"]["object"]["join_url"] == meeting["join_url"]
    assert document["payload"]["account_id"] == (await live.call("GET", "/users/me")).json()["account_id"]


async def test_an_update_tells_what_changed_and_what_it_was(live: ZoomDriver, receiver: Receiver) -> None:
    meeting = await live.meeting()
    path = f"/meetings/{meeting['id']}"
    await live.call("PATCH", path, {"topic": "Choir", "settings": {"approval_type": 1}})
    await live.call("PATCH", path, {"topic": "Band", "settings": {"mute_upon_entry": True}})
    await live.control("POST", f"{path}/edit", {"topic": "Orchestra"})
    await live.control("POST", f"{path}/delete")
    await wait_for_deliveries(live)
    first, second = receiver.documents("meeting.updated")
    assert first["payload"]["operator"] == ADA
    assert first["payload"]["object"] == {"id": meeting["id"], "topic": "Band", "settings": {"mute_upon_entry": True}}
    old = {"id": meeting["id"], "topic": "Choir", "settings": {"mute_upon_entry": False}}
    assert first["payload"]["old_object"] == old
    assert second["payload"]["object"]["topic"] == "Orchestra"
    (deleted,) = receiver.documents("meeting.deleted")
    assert deleted["payload"]["operation"] == "all"
    assert deleted["payload"]["object"].keys() == SCHEDULED


async def test_what_people_do_inside_is_told(live: ZoomDriver, receiver: Receiver) -> None:
    meeting = await live.meeting()
    added = (await live.add(meeting["id"])).json()
    path = f"/meetings/{meeting['id']}"
    await live.control("POST", f"{path}/start")
    await live.control("POST", f"{path}/join", {"join_url": added["join_url"]})
    await live.control("POST", f"{path}/leave", {"join_url": added["join_url"]})
    await live.control("POST", f"{path}/end")
    await wait_for_deliveries(live)
    assert receiver.events() == [
        "meeting.created",
        "meeting.registration_created",
        "meeting.started",
        "meeting.participant_joined",
        "meeting.participant_joined",
        "meeting.participant_left",
        "meeting.participant_left",
        "meeting.ended",
    ]
    (started,) = receiver.documents("meeting.started")
    assert started["payload"]["object"].keys() == SCHEDULED | {"host_email"}
    assert started["payload"]["object"]["id"] == str(meeting["id"])
    (ended,) = receiver.documents("meeting.ended")
    assert ended["payload"]["object"]["uuid"] == meeting["uuid"]
    assert ended["payload"]["object"]["duration"] == 60
    assert ended["payload"]["object"]["end_time"]
    host, mia = (d["payload"]["object"]["participant"] for d in receiver.documents("meeting.participant_joined"))
    assert (host["email"], host["participant_user_id"]) == (ADA, meeting["host_id"])
    assert mia["registrant_id"] == added["registrant_id"]
    assert (mia["user_name"], mia["email"]) == ("Mia Moss", "mia@member.example")
    assert mia["user_id"] != host["user_id"]
    left = receiver.documents("meeting.participant_left")
    reasons = [document["payload"]["object"]["participant"]["leave_reason"] for document in left]
    assert reasons == ["Mia Moss left the meeting.", "Host ended the meeting."]


async def test_who_waits_is_told_as_waiting_and_joins_once_let_in(live: ZoomDriver, receiver: Receiver) -> None:
    meeting = await live.meeting()
    added = (await live.add(meeting["id"])).json()
    path = f"/meetings/{meeting['id']}"
    await live.control("POST", f"{path}/start", {"host_joins": False})
    await live.control("POST", f"{path}/join", {"join_url": added["join_url"], "waits": True})
    await live.control("POST", f"{path}/admit", {"join_url": added["join_url"]})
    await wait_for_deliveries(live)
    kinds = ("joined_waiting_room", "admitted", "left_waiting_room", "joined")
    assert receiver.events()[3:] == [f"meeting.participant_{kind}" for kind in kinds]
    participants = [
        receiver.documents(f"meeting.participant_{kind}")[0]["payload"]["object"]["participant"] for kind in kinds
    ]
    assert {person["registrant_id"] for person in participants} == {added["registrant_id"]}
    assert [sorted(person.keys() & {"date_time", "join_time"}) for person in participants] == [["date_time"]] * 3 + [
        ["join_time"]
    ]


async def test_registrations_are_told_once_their_scope_is_granted(live: ZoomDriver, receiver: Receiver) -> None:
    await reconnect(live, *(scope for scope in ADMIN_SCOPES if scope != "meeting:read:registrant:admin"))
    meeting = await live.meeting()
    await live.add(meeting["id"], "before@member.example")
    await reconnect(live, *ADMIN_SCOPES)
    added = (await live.add(meeting["id"], auto_approve=False)).json()
    for action in ("approve", "cancel"):
        body = {"action": action, "registrants": [{"id": added["registrant_id"]}]}
        await live.call("PUT", f"/meetings/{meeting['id']}/registrants/status", body)
    other = (await live.add(meeting["id"], "noa@member.example", auto_approve=False)).json()
    body = {"action": "deny", "registrants": [{"id": other["registrant_id"]}]}
    await live.call("PUT", f"/meetings/{meeting['id']}/registrants/status", body)
    deliveries = await wait_for_deliveries(live)
    outcomes = [d["outcome"] for d in deliveries if d["event"] == "meeting.registration_created"]
    assert "withheld: nobody granted meeting:read:registrant" in outcomes
    assert receiver.events()[1:] == [
        "meeting.registration_created",
        "meeting.registration_approved",
        "meeting.registration_cancelled",
        "meeting.registration_created",
        "meeting.registration_denied",
    ]
    created = receiver.documents("meeting.registration_created")[0]["payload"]["object"]
    assert created["id"] == meeting["id"]
    assert created["registrant"]["status"] == "pending"
    approved = receiver.documents("meeting.registration_approved")[0]["payload"]
    assert approved["object"]["registrant"]["join_url"]
    assert approved["operator"] == ADA


async def test_a_free_plan_lacks_some_notifications(live: ZoomDriver, receiver: Receiver) -> None:
    await live.connect(WIL)
    meeting = await live.meeting(WIL)
    await live.call("PATCH", f"/meetings/{meeting['id']}", {"topic": "Band"})
    await live.call("DELETE", f"/meetings/{meeting['id']}")
    deliveries = await wait_for_deliveries(live)
    assert receiver.events() == ["meeting.created"]
    withheld = [delivery["event"] for delivery in deliveries if delivery["outcome"] == "withheld: not on this plan"]
    assert withheld == ["meeting.updated", "meeting.deleted"]


async def test_a_user_level_grant_hears_of_its_own_meetings_only(live: ZoomDriver, receiver: Receiver) -> None:
    of_ada = await live.meeting(ADA)
    of_ben = await live.meeting(BEN)
    await live.control("POST", "/deauthorize", {"user": ADA, "notify": False})
    await live.control("PUT", "/app", {"scopes": ["meeting:read:meeting"]})
    await live.connect(BEN)
    receiver.received.clear()
    for meeting in (of_ada, of_ben):
        await live.control("POST", f"/meetings/{meeting['id']}/start")
    await wait_for_deliveries(live)
    assert receiver.events() == ["meeting.started"]
    assert receiver.documents("meeting.started")[0]["payload"]["object"]["id"] == str(of_ben["id"])


async def test_deauthorization_kills_the_tokens_and_is_told(live: ZoomDriver, receiver: Receiver) -> None:
    tokens = await live.connect()
    assert await live.control("POST", "/deauthorize", {"user": ADA}) == {"grants": 2}
    await wait_for_deliveries(live)
    ((headers, body),) = receiver.received
    document = json.loads(body)
    assert document["event"] == "app_deauthorized"
    assert document.keys() == {"event", "payload"}
    assert document["payload"].keys() == {
        "account_id",
        "user_id",
        "client_id",
        "deauthorization_time",
        "signature",
        "event_ts",
    }
    assert isinstance(document["payload"]["event_ts"], int)
    assert signed(SECRET, headers, body)
    dead = await live.call("GET", "/users/me")
    assert (dead.status_code, dead.json()["code"]) == (401, 124)
    assert (await live.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_an_account_can_have_a_subscription_of_its_own(live: ZoomDriver, receiver: Receiver) -> None:
    account_id = (await live.call("GET", "/users/me")).json()["account_id"]
    await live.control("PUT", "/webhooks", {"account_id": account_id, "secret": "own", "url": f"{receiver.url}"})
    await live.meeting()
    await live.control("POST", "/deauthorize", {"user": ADA})
    await wait_for_deliveries(live)
    created, deauthorized = receiver.received
    assert signed("own", *created)
    assert signed(SECRET, *deauthorized)


async def test_switches_shape_notifications(live: ZoomDriver, receiver: Receiver) -> None:
    await live.control(
        "PUT",
        "/switches",
        {
            "timestamp_unit": "milliseconds",
            "participant_time": "date_time",
            "object_id": "number",
            "deauthorized_event_ts": "string",
        },
    )
    meeting = await live.meeting()
    await live.control("POST", f"/meetings/{meeting['id']}/start")
    await live.control("POST", "/deauthorize", {"user": ADA})
    await wait_for_deliveries(live)
    assert all(int(headers["x-zm-request-timestamp"]) > 10**11 for headers, _ in receiver.received)
    (joined,) = receiver.documents("meeting.participant_joined")
    assert "date_time" in joined["payload"]["object"]["participant"]
    assert joined["payload"]["object"]["id"] == meeting["id"]
    (deauthorized,) = receiver.documents("app_deauthorized")
    assert isinstance(deauthorized["payload"]["event_ts"], str)
    await live.control("PUT", "/switches", {"deauthorized_event_ts": "top-level", "object_id": "string"})
    await live.connect()
    await live.control("POST", "/deauthorize", {"user": ADA})
    await wait_for_deliveries(live)
    assert isinstance(receiver.documents("app_deauthorized")[-1]["event_ts"], int)


def test_time_shifts_reach_signatures(live: ZoomDriver) -> None:
    simulator: Simulator = live.simulator
    headers = simulator.sign(b"{}", "s")
    shown = datetime.fromtimestamp(int(headers["x-zm-request-timestamp"]), UTC)
    assert abs((shown - simulator.now()).total_seconds()) < 2
