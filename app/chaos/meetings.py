"""Holding an event: the host starts it inside Zoom, members come through our door, talk, and leave."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.chaos.community import Community, Opened, new_key
from app.chaos.happenings import ADMIN, Meeting, Said, Stay
from app.chaos.people import Answered
from app.demo.calls import StepFailed

PREPARING = 40.0  # seconds a host waits for the meeting to be there
CLICKS = 6
NOT_READY = 503


async def hold(community: Community, meeting: Meeting, event_id: str, starts_at: datetime) -> None:
    """Hold it as planned, a while after its start, once there is a meeting; otherwise it does not take place."""
    number = await _number(community, event_id, starts_at.timestamp() + PREPARING)
    await asyncio.sleep(max(0.0, starts_at.timestamp() + meeting.starts_after - datetime.now(UTC).timestamp()))
    if number is None or not await _inside(community, number, "start"):
        community.skipped.append(f"{event_id} could not be started")
        return
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for who in {stay.who for stay in meeting.stays}:
            stays = [stay for stay in meeting.stays if stay.who == who]
            said = [each for each in meeting.said if each.who == who]
            group.create_task(_come(community, number, event_id, stays, began))
            group.create_task(_talk(community, event_id, said, began))
        await asyncio.sleep(meeting.ends)
    await _inside(community, number, "end")


async def _number(community: Community, event_id: str, until: float) -> str | None:
    while datetime.now(UTC).timestamp() < until:
        told, answer = await community.people.once(ADMIN, "GET", f"/api/events/{event_id}")
        if answer is not None and told.status == httpx.codes.OK:
            zoom = answer.json()["zoom"]
            if zoom and zoom["meeting_id"] and zoom["state"] in {"scheduled", "updating"}:
                return str(zoom["meeting_id"])
        await asyncio.sleep(0.5)
    return None


async def _inside(community: Community, number: str, what: str, body: Any = None) -> bool:
    """Something happens inside Zoom; False where Zoom does not let it."""
    try:
        await community.stage.zoom.control("POST", f"meetings/{number}/{what}", body)
    except StepFailed:
        return False
    return True


async def _come(community: Community, number: str, event_id: str, stays: list[Stay], began: float) -> None:
    loop = asyncio.get_running_loop()
    for stay in stays:
        await asyncio.sleep(max(0.0, began + stay.joins - loop.time()))
        link = await _link(community, event_id, stay.who)
        if link is None:
            continue
        came = loop.time()
        if await _inside(community, number, "join", {"join_url": link}):
            # Whoever comes late stays as long all the same.
            await asyncio.sleep(max(0.0, came + stay.leaves - stay.joins - loop.time()))
            await _inside(community, number, "leave", {"join_url": link})


async def _link(community: Community, event_id: str, who: str) -> str | None:
    """Where a click on Join leads, by way of our redirect; None where it was refused."""
    coming = _certainly_coming(community, event_id, who)
    for _ in range(CLICKS):
        told, answer = await community.people.once(who, "POST", f"/api/events/{event_id}/zoom-join", {})
        if answer is not None and told.status == httpx.codes.OK:
            path = urlsplit(answer.json()["url"]).path
            _, redirect = await community.people.once(None, "GET", path)
            if redirect is None or "location" not in redirect.headers:
                continue
            link = str(redirect.headers["location"])
            page = await community.stage.zoom.visit(link)
            still = coming and _certainly_coming(community, event_id, who)
            community.opened.append(Opened(event_id, who, still, status=page.status_code))
            return link
        if told.status is not None and told.status != NOT_READY:
            community.opened.append(Opened(event_id, who, coming, slug=told.slug))
            return None
        await asyncio.sleep(1.0)
    return None


def _certainly_coming(community: Community, event_id: str, who: str) -> bool:
    wish = community.wishes.of(event_id, who)
    return wish.certain and wish.accepted == "going"


async def _talk(community: Community, event_id: str, said: list[Said], began: float) -> None:
    for each in said:
        await asyncio.sleep(max(0.0, began + each.at - asyncio.get_running_loop().time()))
        path = f"/api/events/{event_id}/messages"
        told, _ = await community.people.insist(each.who, "POST", path, {"text": each.text}, new_key())
        if _was_said(told) is not None:
            community.chat.setdefault(event_id, []).append((each.text, bool(_was_said(told))))


def _was_said(told: list[Answered]) -> bool | None:
    """Whether it was certainly taken; None where it certainly was not."""
    if any(one.accepted for one in told):
        return True
    return False if any(one.open for one in told) else None
