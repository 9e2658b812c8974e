"""Runs one meeting: the host starts it inside Zoom, members join, write in the chat, and leave."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.chaos.community import Community, JoinClick, idempotency_header
from app.chaos.member_clients import RequestOutcome
from app.chaos.workload_plan import ADMIN, PlannedMeeting, PlannedMessage, PlannedSession
from app.devstack.http_clients import StepFailed

MEETING_TIMEOUT = 40.0  # seconds a host waits for the meeting to exist
MAX_CLICKS = 6  # of a member, before they stay away
NOT_READY = 503


async def run_meeting(community: Community, meeting: PlannedMeeting, event_id: str, starts_at: datetime) -> None:
    """Run a meeting as planned, some time after its start. Without a meeting at Zoom nothing happens."""
    meeting_id = await _wait_for_meeting_id(community, event_id, starts_at.timestamp() + MEETING_TIMEOUT)
    await asyncio.sleep(max(0.0, starts_at.timestamp() + meeting.starts_after - datetime.now(UTC).timestamp()))
    if meeting_id is None or not await _act_in_zoom(community, meeting_id, "start"):
        community.skipped.append(f"{event_id} could not be started")
        return
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for who in {stay.who for stay in meeting.sessions}:
            sessions = [stay for stay in meeting.sessions if stay.who == who]
            messages = [each for each in meeting.messages if each.who == who]
            group.create_task(_attend(community, meeting_id, event_id, sessions, began))
            group.create_task(_write_messages(community, event_id, messages, began))
        await asyncio.sleep(meeting.ends)
    await _act_in_zoom(community, meeting_id, "end")


async def _wait_for_meeting_id(community: Community, event_id: str, until: float) -> str | None:
    while datetime.now(UTC).timestamp() < until:
        outcome, response = await community.clients.request_once(ADMIN, "GET", f"/api/events/{event_id}")
        if response is not None and outcome.status == httpx.codes.OK:
            zoom = response.json()["zoom"]
            if zoom and zoom["meeting_id"] and zoom["state"] in {"scheduled", "updating"}:
                return str(zoom["meeting_id"])
        await asyncio.sleep(0.5)
    return None


async def _act_in_zoom(community: Community, meeting_id: str, action: str, body: Any = None) -> bool:
    """Do something inside Zoom. Returns False if Zoom does not allow it."""
    try:
        await community.environment.zoom.control("POST", f"meetings/{meeting_id}/{action}", body)
    except StepFailed:
        return False
    return True


async def _attend(
    community: Community, meeting_id: str, event_id: str, sessions: list[PlannedSession], began: float
) -> None:
    loop = asyncio.get_running_loop()
    for session in sessions:
        await asyncio.sleep(max(0.0, began + session.joins - loop.time()))
        link = await _click_join(community, event_id, session.who)
        if link is None:
            continue
        came = loop.time()
        if await _act_in_zoom(community, meeting_id, "join", {"join_url": link}):
            # A participant who is late stays just as long.
            await asyncio.sleep(max(0.0, came + session.leaves - session.joins - loop.time()))
            await _act_in_zoom(community, meeting_id, "leave", {"join_url": link})


async def _click_join(community: Community, event_id: str, who: str) -> str | None:
    """Click on Join and follow the redirect. Returns where it leads, or None if it was refused."""
    certainly_going = _certainly_going(community, event_id, who)
    for _ in range(MAX_CLICKS):
        outcome, response = await community.clients.request_once(who, "POST", f"/api/events/{event_id}/zoom-join", {})
        if response is not None and outcome.status == httpx.codes.OK:
            path = urlsplit(response.json()["url"]).path
            _, redirect = await community.clients.request_once(None, "GET", path)
            if redirect is None or "location" not in redirect.headers:
                continue
            link = str(redirect.headers["location"])
            page = await community.environment.zoom.visit(link)
            still = certainly_going and _certainly_going(community, event_id, who)
            community.join_clicks.append(JoinClick(event_id, who, still, status=page.status_code))
            return link
        if outcome.status is not None and outcome.status != NOT_READY:
            community.join_clicks.append(JoinClick(event_id, who, certainly_going, slug=outcome.slug))
            return None
        await asyncio.sleep(1.0)
    return None


def _certainly_going(community: Community, event_id: str, who: str) -> bool:
    value = community.expected.get(event_id, who)
    return value.certain and value.accepted == "going"


async def _write_messages(community: Community, event_id: str, messages: list[PlannedMessage], began: float) -> None:
    for message in messages:
        await asyncio.sleep(max(0.0, began + message.at - asyncio.get_running_loop().time()))
        path = f"/api/events/{event_id}/messages"
        outcomes, _ = await community.clients.request_with_retries(
            message.who, "POST", path, {"text": message.text}, idempotency_header()
        )
        if _was_accepted(outcomes) is not None:
            community.chat.setdefault(event_id, []).append((message.text, bool(_was_accepted(outcomes))))


def _was_accepted(outcomes: list[RequestOutcome]) -> bool | None:
    """Return whether the request was certainly accepted; None if it certainly was not."""
    if any(one.accepted for one in outcomes):
        return True
    return False if any(one.unknown for one in outcomes) else None
