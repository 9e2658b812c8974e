"""Client for Standard Webhooks: checks an endpoint's URL, and signs and sends one message to it.

    HookError           the message did not arrive; the text is for admins and repeats nothing from the response
    ├── UrlNotAllowed   messages may not go to this address
    └── Unreachable     the endpoint did not answer in time, or its certificate does not prove its name

The endpoint is not trusted. The client looks up a host's name once for each message, checks every address it finds, and
connects to one of exactly these addresses. A second look-up could return another address than the one that was checked.
TLS is verified against the name all the same.
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

from app.clients.instrumentation import (
    BeforeCall,
    CallObserver,
    allow_call,
    before_send_extensions,
    ignore_call,
    observe_call,
)
from app.clients.tls import ssl_context as default_ssl_context

TIMEOUT = 15.0  # seconds, from the look-up to the end of the response
CONNECT_TIMEOUT = 5.0  # seconds, for the look-up and again for each connection
MAX_URL_LENGTH = 2048
# The client reads this much of a response, so that an ordinary server can finish it, and discards the rest.
MAX_RESPONSE_BYTES = 16 * 1024
SECRET_BYTES = 32  # Standard Webhooks asks for 24 to 64
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291 section 2.4: addresses outside it are special
# Python 3.11 takes some of these for public: RFC 6890 section 2.2.2 (some clouds keep metadata there), RFC 7526.
_SPECIAL_NETWORKS = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"))
NO_PUBLIC_SERVER = "its host name leads to no server on the public internet"
_HOST_PATTERN = re.compile(rb"[A-Za-z0-9._:-]+")  # a name as the DNS has it, or an address
# A pool of its own: in the default pool, a tenant's slow name server would delay every look-up of the process.
_LOOKUP_POOL = ThreadPoolExecutor(64, "hook-lookup")
MAX_LOOKUPS_PER_TENANT = 4  # at the same time, of the 64 threads

Resolve = Callable[[str], Coroutine[Any, Any, Sequence[str]]]


class HookError(Exception):
    """The message did not arrive."""


class UrlNotAllowed(HookError):
    """Messages may not go to this address."""


class Unreachable(HookError):
    """The endpoint did not answer."""


async def resolve_host(host: str) -> Sequence[str]:
    """Return the addresses of a host name as text. Raises OSError if there is none."""
    lookup = functools.partial(socket.getaddrinfo, host, 443, type=socket.SOCK_STREAM)
    infos = await asyncio.get_running_loop().run_in_executor(_LOOKUP_POOL, lookup)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


def is_public(address: str) -> bool:
    """Return whether an address is reachable on the public internet.

    It is not if it is private, loopback, link-local, multicast or reserved, or if it is an IPv6 address that stands for
    an IPv4 one (mapped, 6to4, Teredo, NAT64).
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and (ip not in _GLOBAL_UNICAST or ip.sixtofour or ip.teredo):
        return False
    return ip.is_global and not (
        ip.is_multicast or ip.is_reserved or any(ip in network for network in _SPECIAL_NETWORKS)
    )


def new_secret() -> str:
    """Return a new random secret in the form of Standard Webhooks (`whsec_` and base64)."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(message_id: str, body: str, signing_secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """Return the headers of a message sent `now` (UTC), signed with each of `signing_secrets`."""
    signatures = [Webhook(secret).sign(message_id, now, body) for secret in signing_secrets]
    return {
        "content-type": "application/json",
        "user-agent": "Kindryn-Zoom",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


class HookSender:
    """Sends messages to hook endpoints.

    `allowed_origins` are the operator's own origins, such as `http://platform.internal:8080`. They may have private
    addresses, any port and no TLS. `ssl_context` replaces the trusted certificates in tests. `before_call` is awaited
    right before a message is sent.
    """

    before_call: BeforeCall = staticmethod(allow_call)

    def __init__(
        self,
        *,
        resolve: Resolve = resolve_host,
        allowed_origins: Collection[str] = (),
        ssl_context: ssl.SSLContext | None = None,
        on_call: CallObserver = ignore_call,
    ) -> None:
        self._on_call = on_call
        self._resolve = resolve
        self._allowed_origins = frozenset(allowed_origins)
        self._ssl_context = ssl_context
        self._running_lookups: Counter[str] = Counter()

    async def check(self, url: str, tenant: str) -> None:
        """Raise HookError if the address `url` makes it impossible to send this tenant's messages there now."""
        await self._allowed_addresses(self._parse_url(url), tenant)

    async def send(
        self, url: str, message_id: str, body: str, signing_secrets: Sequence[str], now: datetime, tenant: str
    ) -> int:
        """POST a tenant's message and return the HTTP status of the response, whatever it is.

        Raises HookError if the message did not arrive.
        """
        with observe_call(self._on_call, "hooks", "send", (HookError,)) as call:
            status = await self._send(url, message_id, body, signing_secrets, now, tenant)
            call.outcome = f"{status // 100}xx"  # an endpoint may answer any status; each would be a metric series
        return status

    async def _send(
        self, url: str, message_id: str, body: str, signing_secrets: Sequence[str], now: datetime, tenant: str
    ) -> int:
        target = self._parse_url(url)
        try:
            async with asyncio.timeout(TIMEOUT):
                addresses = await self._allowed_addresses(target, tenant)
                return await self._post(
                    target, addresses, body.encode(), signed_headers(message_id, body, signing_secrets, now)
                )
        except TimeoutError:
            raise Unreachable(f"it did not answer within {TIMEOUT:.0f} seconds") from None
        except httpx.HTTPError as error:
            raise Unreachable(_describe_failure(error)) from None

    def _parse_url(self, url: str) -> httpx.URL:
        try:
            parsed, authority = httpx.URL(url), urlsplit(url).netloc
        except (httpx.InvalidURL, ValueError):
            raise UrlNotAllowed("is not a web address") from None
        # httpx does not report an empty user name, so the `@` is looked for in the text.
        if "@" in authority or parsed.userinfo or parsed.fragment:
            raise UrlNotAllowed("must have neither a user name nor a fragment")
        if _origin(parsed) in self._allowed_origins:
            return parsed
        if len(url) > MAX_URL_LENGTH or parsed.scheme != "https" or not _HOST_PATTERN.fullmatch(parsed.raw_host):
            raise UrlNotAllowed(f"must be an https address of at most {MAX_URL_LENGTH} characters")
        if parsed.port not in {None, 443}:
            raise UrlNotAllowed("must be on port 443")
        return parsed

    async def _allowed_addresses(self, target: httpx.URL, tenant: str) -> Sequence[str]:
        """Return the addresses of a host. Raises HookError with one text for all that is wrong with them.

        The text is the same for a name that does not exist and for one with a private address. Otherwise a caller could
        learn which names our own network knows.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                addresses = await self._look_up(target.raw_host.decode().strip("[]"), tenant)
        except (OSError, UnicodeError):  # a TimeoutError is an OSError
            addresses = ()
        if not addresses:
            raise Unreachable(NO_PUBLIC_SERVER)
        if _origin(target) not in self._allowed_origins and not all(map(is_public, addresses)):
            raise UrlNotAllowed(NO_PUBLIC_SERVER)
        return addresses

    async def _look_up(self, host: str, tenant: str) -> Sequence[str]:
        """Look up a host name. Raises Unreachable if the tenant has too many look-ups running.

        A look-up cannot be cancelled: it occupies a thread until it ends, even if the caller has given up. The limit
        per tenant keeps threads free for others, however slow the name servers are that a tenant chose.
        """
        if self._running_lookups[tenant] >= MAX_LOOKUPS_PER_TENANT:
            raise Unreachable("too many host names of this community are being looked up: try again in a moment")
        self._running_lookups[tenant] += 1
        lookup = asyncio.create_task(self._resolve(host), name=f"look-up {tenant}")
        lookup.add_done_callback(functools.partial(self._lookup_done, tenant))
        return await asyncio.shield(lookup)

    def _lookup_done(self, tenant: str, lookup: asyncio.Task[Sequence[str]]) -> None:
        self._running_lookups[tenant] -= 1
        if not self._running_lookups[tenant]:
            del self._running_lookups[tenant]
        if not lookup.cancelled():
            lookup.exception()  # asyncio warns of an exception that nobody has retrieved

    async def _post(self, target: httpx.URL, addresses: Sequence[str], body: bytes, headers: dict[str, str]) -> int:
        headers = {**headers, "host": target.netloc.decode()}
        # A new client for each message, so that a connection made for another name is never reused for this one.
        async with httpx.AsyncClient(
            verify=self._ssl_context or default_ssl_context(),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT),
        ) as client:
            for address in addresses[:-1]:
                with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                    return await _post_to_address(client, target, address, body, headers, self.before_call)
            return await _post_to_address(client, target, addresses[-1], body, headers, self.before_call)


async def _post_to_address(
    client: httpx.AsyncClient,
    target: httpx.URL,
    address: str,
    body: bytes,
    headers: dict[str, str],
    before_call: BeforeCall,
) -> int:
    extensions = {"sni_hostname": target.raw_host.decode().strip("[]"), **before_send_extensions(before_call)}
    bytes_read = 0
    async with client.stream(
        "POST", target.copy_with(host=address), content=body, headers=headers, extensions=extensions
    ) as response:
        async for chunk in response.aiter_raw():
            bytes_read += len(chunk)
            if bytes_read > MAX_RESPONSE_BYTES:
                break
        return response.status_code


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _describe_failure(error: httpx.HTTPError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "its certificate does not prove its name, or it speaks no TLS"
        cause = cause.__cause__ or cause.__context__
    return "it cannot be connected" if isinstance(error, httpx.ConnectError) else "it broke off the connection"
