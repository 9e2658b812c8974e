"""The people of a community, as clients of two API processes: they ask, wait a while, and ask again or let it be."""

import asyncio
import re
from dataclasses import dataclass, replace
from random import Random
from time import perf_counter
from typing import Any

import httpx

from app.chaos.happenings import ADMIN
from app.demo.cast import Signature

PATIENCE = 12.0  # seconds until somebody gives an answer up
AGAIN = 3  # times somebody asks once more
LONGEST_PAUSE = 3.0
NOT_AVAILABLE = 503
_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=/j/)[\w-]+|(?<=registrations/)m\d+")


@dataclass(frozen=True)
class Answered:
    """What somebody was answered; without a status nobody answered. `said` is the sentence, `slug` what kind it is;
    `excused` is a refusal that whoever asked had to expect. It `took` so many seconds."""

    at: float
    who: str
    asked: str
    status: int | None
    slug: str = ""
    said: str = ""
    retry_after: bool = False
    excused: bool = False
    took: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether it was said that it is done."""
        return self.status is not None and 200 <= self.status < 400

    @property
    def open(self) -> bool:
        """Whether nobody knows if it is done: without an answer, or where the service says that something of it was
        away, be it only the answer to its last word."""
        return self.status is None or self.status >= 500


def email_of(who: str) -> str:
    """The address of a member."""
    return f"{who}@members.example"


def member_id_of(who: str) -> str:
    """What the platform calls a member."""
    return f"chaos-{who}"


class People:
    """Whoever asks, at any of `urls`, and everything they were answered."""

    def __init__(self, urls: list[str], signature: Signature, seed: int) -> None:
        self._urls, self._signature = urls, signature
        self._dice = Random(f"people {seed}")  # noqa: S311 - which API process somebody comes to
        self._http = httpx.AsyncClient(trust_env=False, timeout=PATIENCE)
        self._tokens = dict[str, str]()
        self.answers: list[Answered] = []

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def signed(self, who: str | None) -> dict[str, str]:
        """The header that says who asks."""
        if who is None:
            return {}
        if who not in self._tokens:
            changes = {"sub": member_id_of(who), "email": email_of(who), "name": f"Member {who}"}
            token = self._signature.token(*(("admin",) if who == ADMIN else ("member", changes)))
            self._tokens[who] = token
        return {"Authorization": f"Bearer {self._tokens[who]}"}

    async def once(
        self,
        who: str | None,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        excuse: str = "",
    ) -> tuple[Answered, httpx.Response | None]:
        """One request to whichever process. `excuse` is the slug of a refusal that is to be expected."""
        url = self._dice.choice(self._urls) + path
        said, began = {**self.signed(who), **(headers or {})}, perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._http.request(method, url, json=body, headers=said)
        except (httpx.HTTPError, TimeoutError):
            answer = None
        told = _told(who or "nobody", f"{method} {_IDS.sub('*', path)}", answer)
        told = replace(told, excused=bool(excuse) and told.slug == excuse, took=perf_counter() - began)
        self.answers.append(told)
        return told, answer

    async def insist(
        self,
        who: str,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        excuse: str = "",
    ) -> tuple[list[Answered], httpx.Response | None]:
        """The same, again a few times where nobody answers or something is away; every answer, and the last one."""
        all_told = list[Answered]()
        for _ in range(1 + AGAIN):
            told, answer = await self.once(who, method, path, body, headers, excuse)
            all_told.append(told)
            if not told.open:
                break
            await asyncio.sleep(_pause(answer))
        return all_told, answer

    async def until(self, who: str, path: str, seconds: float = 120.0) -> Any:
        """What a GET says, once it does. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                told, answer = await self.once(who, "GET", path)
                if answer is not None and told.status == httpx.codes.OK:
                    return answer.json()
                await asyncio.sleep(0.5)


def _pause(answer: httpx.Response | None) -> float:
    if answer is None:
        return 0.5
    after = answer.headers.get("retry-after", "1")
    return min(float(after), LONGEST_PAUSE) if after.isdecimal() else 1.0


def _told(who: str, asked: str, answer: httpx.Response | None) -> Answered:
    at = asyncio.get_running_loop().time()
    if answer is None:
        return Answered(at, who, asked, None)
    problem = answer.json() if "problem+json" in answer.headers.get("content-type", "") else {}
    return Answered(
        at,
        who,
        asked,
        answer.status_code,
        slug=str(problem.get("type", "")).rpartition("/")[2],
        said=str(problem.get("detail", "")),
        retry_after="retry-after" in answer.headers,
    )
