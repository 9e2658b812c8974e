"""Standard Webhooks: one signed message to one endpoint that somebody else named, so nothing about it is trusted.

    HookError          the message did not arrive; the text is for admins and repeats nothing the other side said
    ├── Unacceptable   the address is none that messages may go to
    └── Unreachable    nobody answered in time, or the certificate does not prove the name

A host's name is looked up once for each message, every address it leads to is checked, and the connection is made to
one of those very addresses. TLS is verified against the name all the same.
"""

import asyncio
import base64
import functools
import ipaddress
import re
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from standardwebhooks import Webhook

from app.clients.told import Ask, Tell, asking, nobody, told, unasked
from app.clients.trust import trust as usual_trust

TIMEOUT = 15.0  # seconds from the look-up to the end of the answer
CONNECT_TIMEOUT = 5.0
LONGEST_URL = 2048
LONGEST_ANSWER = 16 * 1024  # bytes of the answer that are read, so that a server can say all it has to
SECRET_BYTES = 32  # Standard Webhooks asks for 24 to 64
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291 section 2.4: what stands outside is special
# Not all of these are private to Python 3.11: RFC 6890 section 2.2.2 (some clouds keep metadata there), RFC 7526.
_SPECIAL = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"))
NO_SERVER = "its host name leads to no server on the public internet"
_HOST = re.compile(rb"[A-Za-z0-9._:-]+")  # a name as the DNS has it, or an address
# Threads of its own, as whoever runs a slow name server would otherwise hold up every look-up of the process.
_LOOKUPS = ThreadPoolExecutor(64, "hook-lookup")
LOOKUPS_OF_TENANT = 4  # at once

Resolve = Callable[[str], Coroutine[Any, Any, Sequence[str]]]


class HookError(Exception):
    """The message did not arrive."""


class Unacceptable(HookError):
    """Messages do not go to this address."""


class Unreachable(HookError):
    """Nobody answered there."""


async def look_up(host: str) -> Sequence[str]:
    """The addresses a name leads to, as texts. Raises OSError where there is none."""
    asked = functools.partial(socket.getaddrinfo, host, 443, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, asked)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def is_public(address: str) -> bool:
    """Whether an address is one of the internet: not private, loopback, link-local, multicast or reserved, nor an IPv6
    address that stands for an IPv4 one (mapped, 6to4, Teredo, NAT64)."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and (ip not in _GLOBAL_UNICAST or ip.sixtofour or ip.teredo):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or any(ip in network for network in _SPECIAL))


def new_secret() -> str:
    """A fresh secret in the form Standard Webhooks gives it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def headers(message_id: str, body: str, signing: Sequence[str], now: datetime) -> dict[str, str]:
    """The headers of a message sent `now` (UTC), signed with each secret of `signing`."""
    signatures = [Webhook(secret).sign(message_id, now, body) for secret in signing]
    return {
        "content-type": "application/json",
        "user-agent": "Kindryn-Zoom",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


class Hooks:
    """Sends messages. `permitted` are origins such as `http://platform.internal:8080` that may be anywhere and on any
    port: the operator's own; `trust` is what proves a receiver's name in tests. `ask` is awaited right before a message
    leaves."""

    ask: Ask = staticmethod(unasked)

    def __init__(
        self,
        *,
        resolve: Resolve = look_up,
        permitted: Collection[str] = (),
        trust: ssl.SSLContext | None = None,
        tell: Tell = nobody,
    ) -> None:
        self._tell = tell
        self._resolve, self._permitted, self._given_trust = resolve, frozenset(permitted), trust
        self._under_way: Counter[str] = Counter()

    async def check(self, url: str, tenant: str) -> None:
        """Raises HookError where a message of this tenant to `url` could not be sent now, because of what the address
        is."""
        await self._addresses(self._parsed(url), tenant)

    async def send(
        self, url: str, message_id: str, body: str, signing: Sequence[str], now: datetime, tenant: str
    ) -> int:
        """POST a message of a tenant, and return the status of the answer, whatever it is. Raises HookError."""
        with told(self._tell, "hooks", "send", (HookError,)) as call:
            status = await self._sent(url, message_id, body, signing, now, tenant)
            call.outcome = f"{status // 100}xx"  # whoever answers has a thousand others to choose from
        return status

    async def _sent(
        self, url: str, message_id: str, body: str, signing: Sequence[str], now: datetime, tenant: str
    ) -> int:
        target = self._parsed(url)
        try:
            async with asyncio.timeout(TIMEOUT):
                addresses = await self._addresses(target, tenant)
                return await self._post(target, addresses, body.encode(), headers(message_id, body, signing, now))
        except TimeoutError:
            raise Unreachable(f"it did not answer within {TIMEOUT:.0f} seconds") from None
        except httpx.HTTPError as error:
            raise Unreachable(_told(error)) from None

    def _parsed(self, url: str) -> httpx.URL:
        try:
            parsed, authority = httpx.URL(url), urlsplit(url).netloc
        except (httpx.InvalidURL, ValueError):
            raise Unacceptable("is not a web address") from None
        # An empty user name is one too, though httpx does not tell of it.
        if "@" in authority or parsed.userinfo or parsed.fragment:
            raise Unacceptable("must have neither a user name nor a fragment")
        if _origin(parsed) in self._permitted:
            return parsed
        if len(url) > LONGEST_URL or parsed.scheme != "https" or not _HOST.fullmatch(parsed.raw_host):
            raise Unacceptable(f"must be an https address of at most {LONGEST_URL} characters")
        if parsed.port not in {None, 443}:
            raise Unacceptable("must be on port 443")
        return parsed

    async def _addresses(self, target: httpx.URL, tenant: str) -> Sequence[str]:
        """The addresses of a host. Whatever is wrong with them is told alike: who asks must not learn which names our
        own network knows."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                addresses = await self._looked_up(target.raw_host.decode().strip("[]"), tenant)
        except (OSError, UnicodeError):  # a TimeoutError is an OSError
            addresses = ()
        if not addresses:
            raise Unreachable(NO_SERVER)
        if _origin(target) not in self._permitted and not all(map(is_public, addresses)):
            raise Unacceptable(NO_SERVER)
        return addresses

    async def _looked_up(self, host: str, tenant: str) -> Sequence[str]:
        """A name is looked up to its end, also when nobody waits for it any more: that long it keeps a thread. So each
        tenant has a few look-ups at once, however slow the name servers are that it has chosen."""
        if self._under_way[tenant] >= LOOKUPS_OF_TENANT:
            raise Unreachable("too many host names of this community are being looked up: try again in a moment")
        self._under_way[tenant] += 1
        looking = asyncio.create_task(self._resolve(host), name=f"look-up {tenant}")
        looking.add_done_callback(functools.partial(self._looked, tenant))
        return await asyncio.shield(looking)

    def _looked(self, tenant: str, looking: asyncio.Task[Sequence[str]]) -> None:
        self._under_way[tenant] -= 1
        if not self._under_way[tenant]:
            del self._under_way[tenant]
        if not looking.cancelled():
            looking.exception()  # told to whoever waited; nobody may have

    async def _post(self, target: httpx.URL, addresses: Sequence[str], body: bytes, said: dict[str, str]) -> int:
        said = {**said, "host": target.netloc.decode()}
        # A client for each message: a connection once made for another name must not be used again for this one.
        async with httpx.AsyncClient(
            verify=self._given_trust or usual_trust(),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT),
        ) as client:
            for address in addresses[:-1]:
                with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                    return await _answered(client, target, address, body, said, self.ask)
            return await _answered(client, target, addresses[-1], body, said, self.ask)


async def _answered(
    client: httpx.AsyncClient, target: httpx.URL, address: str, body: bytes, said: dict[str, str], ask: Ask
) -> int:
    named = {"sni_hostname": target.raw_host.decode().strip("[]"), **asking(ask)}
    read = 0
    async with client.stream(
        "POST", target.copy_with(host=address), content=body, headers=said, extensions=named
    ) as answer:
        async for chunk in answer.aiter_raw():
            read += len(chunk)
            if read > LONGEST_ANSWER:
                break
        return answer.status_code


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _told(error: httpx.HTTPError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "its certificate does not prove its name, or it speaks no TLS"
        cause = cause.__cause__ or cause.__context__
    return "it cannot be connected" if isinstance(error, httpx.ConnectError) else "it broke off the connection"
