"""Step 5 of the reviewer plan: Zoom's notifications about a meeting, and what they change.

They appear on the event's live page, in the attendance and in the platform's hooks. Chat and questions are part of it.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from app.demo.sse_client import SseClient, follow
from app.demo.walkthrough_state import Walkthrough
from app.devstack.http_clients import SLUG, StepFailed, expect, until
from app.devstack.personas import PERSONAS
from app.devstack.platform import HOOKS_PATH

HOOK_TIMEOUT = 60.0  # seconds
STARTED_MINUTES_AGO = 40  # minutes ago
SESSIONS = ((35, 25), (20, 5))  # minutes ago: joined, left
MINUTES = sum(joined - left for joined, left in SESSIONS)
QUESTION, ANSWER = "Is there a recording?", "Not yet."


async def webhooks(walkthrough: Walkthrough) -> None:
    """Let a meeting start, people join and leave, and the meeting end.

    Checks the live page, the attendance and the hooks.
    """
    await _create_hook(walkthrough)
    starts_at = await walkthrough.reschedule(timedelta(seconds=6))
    await walkthrough.next_invitation("REQUEST")
    meeting_id = await walkthrough.meeting_id()
    async with follow(walkthrough.api, "member", f"{walkthrough.event_path}/live") as live_page:
        await live_page.expect_event("state", status="scheduled")
        await walkthrough.zoom.control("POST", f"meetings/{meeting_id}/start", {"minutes_ago": STARTED_MINUTES_AGO})
        await live_page.expect_event("state", status="live")
        walkthrough.report(
            f"the host started the meeting in Zoom {STARTED_MINUTES_AGO} minutes ago, as Zoom says late: "
            "the page is live"
        )
        await _expect_hook(walkthrough, "event.live")
        await _join_and_leave(walkthrough, meeting_id, live_page)
        await _use_chat_and_questions(walkthrough, live_page)
        # An instance that ends before the event begins was a rehearsal.
        await until("the event's start has come", lambda: _is_past(starts_at))
        await walkthrough.zoom.control("POST", f"meetings/{meeting_id}/end")
        await live_page.expect_event("closed", status="ended")
    walkthrough.report("the host ends it for all: the page is closed")
    await walkthrough.zoom.control("POST", "idle")
    await _check_ended(walkthrough)


async def _create_hook(walkthrough: Walkthrough) -> None:
    subscription = {"url": walkthrough.environment.platform.url + HOOKS_PATH, "kinds": ["event.live", "event.ended"]}
    created = await walkthrough.api.call("admin", "POST", f"/api/communities/{SLUG}/hooks", subscription, status=201)
    walkthrough.environment.platform.hooks.secret = created.json()["secret"]
    walkthrough.report("the platform has itself told when events go live and end")


async def _expect_hook(walkthrough: Walkthrough, kind: str) -> None:
    try:
        message = await walkthrough.environment.platform.hooks.wait_for(kind, walkthrough.event_id, HOOK_TIMEOUT)
    except TimeoutError:
        raise StepFailed(f"the platform was told no {kind} within {HOOK_TIMEOUT:.0f} s") from None
    walkthrough.report(f"the platform was told {kind}, at {message['timestamp']}, and has proved the signature")


async def _join_and_leave(walkthrough: Walkthrough, meeting_id: str, live_page: SseClient) -> None:
    """Let the member join by the personal link, leave, and join again."""
    for joined, left in SESSIONS:
        link = {"join_url": await walkthrough.join("member")}
        await walkthrough.zoom.control("POST", f"meetings/{meeting_id}/join", link | {"minutes_ago": joined})
        # The host is inside, too.
        await live_page.expect_event("state", status="live", participants=2)
        await walkthrough.zoom.control("POST", f"meetings/{meeting_id}/leave", link | {"minutes_ago": left})
        await live_page.expect_event("state", status="live", participants=1)
    durations = " and ".join(f"{joined - left} minutes" for joined, left in SESSIONS)
    walkthrough.report(f"{PERSONAS['member'].name} clicks Join, is in for {durations}, and the page counts along")


async def _use_chat_and_questions(walkthrough: Walkthrough, live_page: SseClient) -> None:
    """Send a chat message, ask a question and answer it."""
    message = await walkthrough.api.call(
        "member", "POST", f"{walkthrough.event_path}/messages", {"text": "Hello!"}, status=201
    )
    await live_page.expect_event("message", id=message.json()["id"], text="Hello!")
    question = (
        await walkthrough.api.call(
            "member", "POST", f"{walkthrough.event_path}/questions", {"text": QUESTION}, status=201
        )
    ).json()
    await live_page.expect_event("question", id=question["id"], text=QUESTION)
    await walkthrough.api.call("admin", "POST", f"/api/questions/{question['id']}/answer", {"text": ANSWER})
    await live_page.expect_event("answer", question_id=question["id"])
    walkthrough.report(f'chat and questions are open: "{QUESTION}" - "{ANSWER}"')
    refused = await walkthrough.api.call(
        "member2", "POST", f"{walkthrough.event_path}/messages", {"text": "Hello!"}, status=403
    )
    walkthrough.report(f"{PERSONAS['member2'].name}, who is not coming, cannot write: {refused.json()['detail']}")


async def _check_ended(walkthrough: Walkthrough) -> None:
    """Check that the event has ended for everybody and that the attendance is right."""
    await walkthrough.wait_for_status("ended")
    join_refusal = (
        await walkthrough.api.call("member", "POST", f"{walkthrough.event_path}/zoom-join", {}, status=410)
    ).json()
    walkthrough.report(f"click on Join: {join_refusal['detail']}")
    message_refusal = (
        await walkthrough.api.call("member", "POST", f"{walkthrough.event_path}/messages", {"text": "Late"}, status=409)
    ).json()
    walkthrough.report(f"one more message: {message_refusal['detail']}")
    await _expect_hook(walkthrough, "event.ended")
    await until("the attendance is there", lambda: _attendance_is_complete(walkthrough))
    walkthrough.report(f"attendance: {PERSONAS['member'].name} was in for {MINUTES} minutes, in {len(SESSIONS)} stays")


async def _attendance_is_complete(walkthrough: Walkthrough) -> bool:
    """Return whether the attendance is right to the minute."""
    attendance: dict[str, Any] = await walkthrough.api.get("admin", f"{walkthrough.event_path}/attendance")
    member = next((attendee for attendee in attendance["items"] if attendee["name"] == PERSONAS["member"].name), None)
    if member is None or len(member["sessions"]) < len(SESSIONS):
        return False
    expect(member["minutes"] == MINUTES, f"the attendance says {member['minutes']} minutes instead of {MINUTES}")
    expect(member["confidence"] == "certain", f"whose stay it was is only {member['confidence']}")
    return True


async def _is_past(moment: datetime) -> bool:
    return datetime.now(UTC) > moment
