"""Step 5 of the reviewer plan: what Zoom says of a meeting, on the event's page, in the chat, in the platform."""

from datetime import UTC, datetime, timedelta
from typing import Any

from app.demo.calls import StepFailed, expect, until
from app.demo.cast import CAST
from app.demo.following import Following, following
from app.demo.platform import HOOKS
from app.demo.scene import SLUG, Scene

HOOK_PATIENCE = 60.0  # seconds
STARTED = 40  # minutes ago
STAYS = ((35, 25), (20, 5))  # minutes ago: joined, left
MINUTES = sum(joined - left for joined, left in STAYS)
QUESTION, ANSWER = "Is there a recording?", "Not yet."


async def webhooks(scene: Scene) -> None:
    """Zoom says started, joined, left and ended: live page, chat, questions, attendance, and the platform's hook."""
    await _have_a_hook(scene)
    starts = await scene.move(timedelta(seconds=6))
    await scene.invite("REQUEST")
    number = await scene.number()
    async with following(scene.api, "member", f"{scene.event}/live") as page:
        await page.sees("state", status="scheduled")
        await scene.zoom.control("POST", f"meetings/{number}/start", {"minutes_ago": STARTED})
        await page.sees("state", status="live")
        scene.tell(f"the host started the meeting in Zoom {STARTED} minutes ago, as Zoom says late: the page is live")
        await _hook(scene, "event.live")
        await _come_and_go(scene, number, page)
        await _talk(scene, page)
        # What ends before the event begins was a rehearsal.
        await until("the event's start has come", lambda: _past(starts))
        await scene.zoom.control("POST", f"meetings/{number}/end")
        await page.sees("closed", status="ended")
    scene.tell("the host ends it for all: the page is closed")
    await scene.zoom.control("POST", "idle")
    await _after(scene)


async def _have_a_hook(scene: Scene) -> None:
    wish = {"url": scene.house.platform.url + HOOKS, "kinds": ["event.live", "event.ended"]}
    made = await scene.api.call("admin", "POST", f"/api/communities/{SLUG}/hooks", wish, status=201)
    scene.house.platform.hooks.secret = made.json()["secret"]
    scene.tell("the platform has itself told when events go live and end")


async def _hook(scene: Scene, kind: str) -> None:
    try:
        message = await scene.house.platform.hooks.heard(kind, scene.event_id, HOOK_PATIENCE)
    except TimeoutError:
        raise StepFailed(f"the platform was told no {kind} within {HOOK_PATIENCE:.0f} s") from None
    scene.tell(f"the platform was told {kind}, at {message['timestamp']}, and has proved the signature")


async def _come_and_go(scene: Scene, number: str, page: Following) -> None:
    """The member comes by the personal link, leaves, and comes again."""
    for joined, left in STAYS:
        link = {"join_url": await scene.enter("member")}
        await scene.zoom.control("POST", f"meetings/{number}/join", link | {"minutes_ago": joined})
        # The host is in, too.
        await page.sees("state", status="live", participants=2)
        await scene.zoom.control("POST", f"meetings/{number}/leave", link | {"minutes_ago": left})
        await page.sees("state", status="live", participants=1)
    stays = " and ".join(f"{joined - left} minutes" for joined, left in STAYS)
    scene.tell(f"{CAST['member'].name} clicks Join, is in for {stays}, and the page counts along")


async def _talk(scene: Scene, page: Following) -> None:
    """A message, a question, its answer."""
    said = await scene.api.call("member", "POST", f"{scene.event}/messages", {"text": "Hello!"}, status=201)
    await page.sees("message", id=said.json()["id"], text="Hello!")
    asked = (await scene.api.call("member", "POST", f"{scene.event}/questions", {"text": QUESTION}, status=201)).json()
    await page.sees("question", id=asked["id"], text=QUESTION)
    await scene.api.call("admin", "POST", f"/api/questions/{asked['id']}/answer", {"text": ANSWER})
    await page.sees("answer", question_id=asked["id"])
    scene.tell(f'chat and questions are open: "{QUESTION}" - "{ANSWER}"')
    refused = await scene.api.call("member2", "POST", f"{scene.event}/messages", {"text": "Hello!"}, status=403)
    scene.tell(f"{CAST['member2'].name}, who is not coming, cannot write: {refused.json()['detail']}")


async def _after(scene: Scene) -> None:
    """Ended for everybody, and the attendance is right."""
    await scene.status("ended")
    over = (await scene.api.call("member", "POST", f"{scene.event}/zoom-join", {}, status=410)).json()
    scene.tell(f"click on Join: {over['detail']}")
    closed = (await scene.api.call("member", "POST", f"{scene.event}/messages", {"text": "Late"}, status=409)).json()
    scene.tell(f"one more message: {closed['detail']}")
    await _hook(scene, "event.ended")
    await until("the attendance is there", lambda: _attended(scene))
    scene.tell(f"attendance: {CAST['member'].name} was in for {MINUTES} minutes, in {len(STAYS)} stays")


async def _attended(scene: Scene) -> bool:
    """Whether the attendance is right to the minute."""
    seen: dict[str, Any] = await scene.api.get("admin", f"{scene.event}/attendance")
    member = next((each for each in seen["items"] if each["name"] == CAST["member"].name), None)
    if member is None or len(member["sessions"]) < len(STAYS):
        return False
    expect(member["minutes"] == MINUTES, f"the attendance says {member['minutes']} minutes instead of {MINUTES}")
    expect(member["sure"] == "certain", f"whose stay it was is only {member['sure']}")
    return True


async def _past(moment: datetime) -> bool:
    return datetime.now(UTC) > moment
