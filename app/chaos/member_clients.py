"""The members of a community as clients of two API processes. They retry a few times, then give up."""

import asyncio
import re
from dataclasses import dataclass, replace
from random import Random
from time import perf_counter
from typing import Any

import httpx

from app.chaos.workload_plan import ADMIN
from app.devstack.personas import TokenSigner

REQUEST_TIMEOUT = 12.0  # seconds until a client gives up on a response
MAX_RETRIES = 3  # times a client repeats a request
MAX_RETRY_DELAY = 3.0  # seconds, also if the service asks for more
NOT_AVAILABLE = 503
_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=/j/)[\w-]+|(?<=registrations/)m\d+")


@dataclass(frozen=True)
class RequestOutcome:
    """The response to a request. Without a status there was no response.

    It has the text and the `slug` of a refusal. `excused` marks a refusal that the client had to expect. The request
    `took` this many seconds.
    """

    at: float
    who: str
    request: str
    status: int | None
    slug: str = ""
    detail: str = ""
    retry_after: bool = False
    excused: bool = False
    took: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether the service confirmed the request."""
        return self.status is not None and 200 <= self.status < 400

    @property
    def unknown(self) -> bool:
        """Whether it is unknown if the request had an effect.

        That is so without a response, and if the service says that something was unavailable, be it only the result of
        its commit.
        """
        return self.status is None or self.status >= 500


def email_of(who: str) -> str:
    """Return a member's address."""
    return f"{who}@members.example"


def member_id_of(who: str) -> str:
    """Return the platform's id of a member."""
    return f"chaos-{who}"


class MemberClients:
    """Clients of the API at any of `urls`, with every response they got."""

    def __init__(self, urls: list[str], signer: TokenSigner, seed: int) -> None:
        self._urls = urls
        self._signer = signer
        self._dice = Random(f"people {seed}")  # noqa: S311 - which API process a client calls
        self._http = httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT)
        self._tokens = dict[str, str]()
        self.outcomes: list[RequestOutcome] = []

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def auth_headers(self, who: str | None) -> dict[str, str]:
        """Return the header that says who calls."""
        if who is None:
            return {}
        if who not in self._tokens:
            changes = {"sub": member_id_of(who), "email": email_of(who), "name": f"Member {who}"}
            token = self._signer.token(*(("admin",) if who == ADMIN else ("member", changes)))
            self._tokens[who] = token
        return {"Authorization": f"Bearer {self._tokens[who]}"}

    async def request_once(
        self,
        who: str | None,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        expected_slug: str = "",
    ) -> tuple[RequestOutcome, httpx.Response | None]:
        """Send one request to one of the processes. `expected_slug` is the slug of a refusal to expect."""
        url = self._dice.choice(self._urls) + path
        all_headers = {**self.auth_headers(who), **(headers or {})}
        began = perf_counter()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                response = await self._http.request(method, url, json=body, headers=all_headers)
        except (httpx.HTTPError, TimeoutError):
            response = None
        outcome = _outcome(who or "nobody", f"{method} {_IDS.sub('*', path)}", response)
        outcome = replace(
            outcome, excused=bool(expected_slug) and outcome.slug == expected_slug, took=perf_counter() - began
        )
        self.outcomes.append(outcome)
        return outcome, response

    async def request_with_retries(
        self,
        who: str,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        expected_slug: str = "",
    ) -> tuple[list[RequestOutcome], httpx.Response | None]:
        """Send a request, and repeat it if there is no response or something is unavailable.

        Returns every response and the last one.
        """
        outcomes = list[RequestOutcome]()
        for _ in range(1 + MAX_RETRIES):
            outcome, response = await self.request_once(who, method, path, body, headers, expected_slug)
            outcomes.append(outcome)
            if not outcome.unknown:
                break
            await asyncio.sleep(_retry_delay(response))
        return outcomes, response

    async def get_when_available(self, who: str, path: str, seconds: float = 120.0) -> Any:
        """Return the JSON of a GET, repeated until it succeeds. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                outcome, response = await self.request_once(who, "GET", path)
                if response is not None and outcome.status == httpx.codes.OK:
                    return response.json()
                await asyncio.sleep(0.5)


def _retry_delay(response: httpx.Response | None) -> float:
    if response is None:
        return 0.5
    after = response.headers.get("retry-after", "1")
    return min(float(after), MAX_RETRY_DELAY) if after.isdecimal() else 1.0


def _outcome(who: str, request: str, response: httpx.Response | None) -> RequestOutcome:
    at = asyncio.get_running_loop().time()
    if response is None:
        return RequestOutcome(at, who, request, None)
    problem = response.json() if "problem+json" in response.headers.get("content-type", "") else {}
    return RequestOutcome(
        at,
        who,
        request,
        response.status_code,
        slug=str(problem.get("type", "")).rpartition("/")[2],
        detail=str(problem.get("detail", "")),
        retry_after="retry-after" in response.headers,
    )
