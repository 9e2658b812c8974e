"""Living what was planned: events are made, changed and cancelled, answered and held, each in its own time."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from app.chaos.community import Community, new_key
from app.chaos.happenings import ADMIN, Answer, Change, Happening
from app.chaos.listeners import Listener
from app.chaos.meetings import hold
from app.chaos.people import member_id_of
from app.demo.scene import EVENTS

TRIES = 20  # to make an event


class Stories:
    """Everything that is planned, and who listens meanwhile."""

    def __init__(self, community: Community) -> None:
        self._community = community
        self.listeners: list[Listener] = []
        self._listening = list[asyncio.Task[None]]()

    async def run(self, plan: Sequence[Happening]) -> None:
        """Live all of it; returns when the last has come to its end."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for happening in plan:
                await asyncio.sleep(max(0.0, began + happening.at - loop.time()))
                group.create_task(self._live(happening), name=happening.title)

    async def stop_listening(self) -> None:
        """Close the pages of those who listen."""
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)

    async def _live(self, happening: Happening) -> None:
        made = await self._made(happening)
        if made is None:
            self._community.skipped.append(f"{happening.title} could not be made")
            return
        event_id, starts_at = made
        self._community.events[happening.number] = event_id
        if happening.meeting:
            self._listen(event_id)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._change(happening, event_id, starts_at, loop.time()))
            for who, answers in happening.answers.items():
                group.create_task(self._answer(event_id, who, answers, loop.time()))
            if happening.meeting:
                group.create_task(hold(self._community, happening.meeting, event_id, starts_at))

    async def _made(self, happening: Happening) -> tuple[str, datetime] | None:
        """The event's id and start. One that is to be held begins soon, so what comes too late is asked anew."""
        body, starts_at, key = _terms(self._community, happening), datetime.now(UTC), new_key()
        for _ in range(TRIES):
            starts_at = datetime.fromisoformat(body["starts_at"])
            told, answer = await self._community.people.insist(
                ADMIN, "POST", EVENTS, body, key, "starts-in-past" if happening.meeting else ""
            )
            if answer is not None and told[-1].accepted:
                event_id = str(answer.json()["id"])
                for attribute, word in (("title", body["title"]), ("starts_at", starts_at), ("cancelled", False)):
                    self._community.wishes.accepted((event_id, attribute), word)
                return event_id, starts_at
            if not told[-1].open:
                # As it was refused it was not made, under this key.
                body, key = _terms(self._community, happening), new_key()
                await asyncio.sleep(1.0)
        return None

    async def _change(self, happening: Happening, event_id: str, starts_at: datetime, began: float) -> None:
        for change in happening.changes:
            await asyncio.sleep(max(0.0, began + change.at - asyncio.get_running_loop().time()))
            if change.cancels:
                await self._say(event_id, {"cancelled": True}, f"/api/events/{event_id}/cancel", "POST")
            else:
                await self._say(event_id, _words(change, starts_at), f"/api/events/{event_id}", "PATCH")

    async def _say(self, event_id: str, words: dict[str, Any], path: str, method: str) -> None:
        body = None
        if method == "PATCH":
            body = {name: word.isoformat() if isinstance(word, datetime) else word for name, word in words.items()}
            if "starts_at" in words:
                body["ends_at"] = (words["starts_at"] + timedelta(hours=1)).isoformat()
        told, _ = await self._community.people.insist(ADMIN, method, path, body)
        for one in told:
            for attribute, word in words.items():
                if one.accepted:
                    self._community.wishes.accepted((event_id, attribute), word)
                elif one.open:
                    self._community.wishes.unanswered((event_id, attribute), word)

    async def _answer(self, event_id: str, who: str, answers: Sequence[Answer], began: float) -> None:
        wishes = self._community.wishes
        for answer in answers:
            await asyncio.sleep(max(0.0, began + answer.at - asyncio.get_running_loop().time()))
            known = wishes.of(event_id, who).accepted is not None
            if answer.by_admin and known:
                path = f"/api/events/{event_id}/registrations/{member_id_of(who)}"
                told, _ = await self._community.people.insist(ADMIN, "PUT", path, {"status": answer.status})
            else:
                path = f"/api/events/{event_id}/rsvp"
                told, _ = await self._community.people.insist(who, "PUT", path, {"status": answer.status})
            for one in told:
                if one.accepted:
                    wishes.accepted((event_id, who), answer.status)
                elif one.open:
                    wishes.unanswered((event_id, who), answer.status)

    def _listen(self, event_id: str) -> None:
        """One page at each API process, from now on."""
        for url in self._community.stage.api_urls:
            listener = Listener(url, event_id, self._community.people.signed(ADMIN))
            self.listeners.append(listener)
            self._listening.append(asyncio.create_task(listener.follow(), name=f"listener {event_id}"))


def _terms(community: Community, happening: Happening) -> dict[str, Any]:
    now = datetime.now(UTC).replace(microsecond=0)
    if happening.meeting:
        starts_at, lasts = now + timedelta(seconds=happening.meeting.lead), timedelta(minutes=2)
    else:
        starts_at, lasts = now + timedelta(days=happening.day), timedelta(hours=1)
    starts_at = starts_at.replace(microsecond=0)
    return {
        "title": happening.title,
        "starts_at": starts_at.isoformat(),
        "ends_at": (starts_at + lasts).isoformat(),
        "timezone": "Europe/Berlin",
        "is_virtual": True,
        "delivery_mode": "zoom",
        "host_id": community.hosts[happening.host],
    }


def _words(change: Change, starts_at: datetime) -> dict[str, Any]:
    moved = {} if change.minutes is None else {"starts_at": starts_at + timedelta(minutes=change.minutes)}
    return {"title": change.title, **moved}
