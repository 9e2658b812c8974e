"""The platform's public keys (JSON Web Key Set, RFC 7517), fetched from AUTH_JWKS_URL and kept."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import jwt
import orjson

from app.clients.instrumentation import call_extensions

TTL = timedelta(minutes=10)
MIN_REFETCH_INTERVAL = 10.0  # seconds between two fetches, however many unknown kids are asked for
MIN_REFETCH_INTERVAL_WITHOUT_KEYS = 1.0  # nobody can sign in until the first fetch succeeds
TIMEOUT = 5.0  # seconds for a whole fetch
MAX_DOCUMENT_BYTES = 256 * 1024
_ASYMMETRIC_KEY_TYPES = frozenset({"EC", "RSA", "OKP"})
# RFC 9864: names that say the curve too, and the older ones, which are all that PyJWT knows.
_ALGORITHM_ALIASES: dict[tuple[Any, Any], str] = {("ESP256", "P-256"): "ES256", ("Ed25519", "Ed25519"): "EdDSA"}
_log = logging.getLogger("jwks")


class UnknownKey(Exception):
    """The platform publishes no key with that `kid`: the token cannot be believed."""


class KeysUnavailable(Exception):
    """The platform's keys cannot be had now: the token can neither be believed nor refused. Says why."""


class Jwks:
    """The platform's keys. Stale ones serve on while the platform does not answer or answers nonsense."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        ttl: timedelta = TTL,
        clock: Callable[[], float] = time.monotonic,
        on_fetch: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`clock` counts seconds from anywhere. The first fetch happens when the first key is asked for. `on_fetch` hears
        of each that it was "fetched", or that it "failed"."""
        self._http = http
        self._url = url
        self._ttl = ttl.total_seconds()
        self._clock = clock
        self._on_fetch = on_fetch
        self._keys: tuple[jwt.PyJWK, ...] = ()
        self._failure = "not fetched yet"
        self._stale_at = -math.inf
        self._next_fetch_at = -math.inf  # not before
        self._fetch_lock = asyncio.Lock()

    def cached(self, kid: str | None) -> jwt.PyJWK | None:
        """The key to use at once, or None where `key` has to be awaited. `kid` None: the only key, if there is one.

        While one caller waits for a refresh, and for a while after it failed, everybody else goes on with stale keys.
        """
        found = self._find(kid)
        if found is not None:
            now = self._clock()
            if now < self._stale_at or now < self._next_fetch_at or self._fetch_lock.locked():
                return found
        return None

    async def key(self, kid: str | None) -> jwt.PyJWK:
        """The key with that `kid` and the algorithm bound to it. Raises UnknownKey or KeysUnavailable."""
        found = self.cached(kid)
        if found is not None:
            return found
        await self._refresh()
        found = self._find(kid)
        if found is not None:
            return found
        if self._failure:
            raise KeysUnavailable(self._failure)
        raise UnknownKey

    async def replacement_for(self, key: jwt.PyJWK) -> jwt.PyJWK | None:
        """What stands in the place of a key that a signature does not fit, once the keys were fetched again; None where
        it is the same key, or none, or they were fetched a moment ago. A key may have been replaced under its `kid`."""
        await self._refresh()
        found = self._find(key.key_id)
        return (
            found if found is not None and (found.algorithm_name, found.key) != (key.algorithm_name, key.key) else None
        )

    async def ready(self) -> None:
        """Make sure there are keys to verify with, be they stale. Raises KeysUnavailable."""
        if self._clock() >= self._stale_at:
            await self._refresh()
        if not self._keys:
            raise KeysUnavailable(self._failure)

    def _find(self, kid: str | None) -> jwt.PyJWK | None:
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.key_id == kid), None)

    async def _refresh(self) -> None:
        # Whoever waited for the lock finds `_next_fetch_at` moved by the one who held it and shares what it fetched.
        async with self._fetch_lock:
            if self._clock() < self._next_fetch_at:
                return
            try:
                self._keys = await self._fetch()
            except (httpx.HTTPError, TimeoutError, ValueError) as error:
                self._failure = str(error) if isinstance(error, ValueError) else type(error).__name__
                self._next_fetch_at = self._clock() + (
                    MIN_REFETCH_INTERVAL if self._keys else MIN_REFETCH_INTERVAL_WITHOUT_KEYS
                )
                self._on_fetch("failed")
                _log.warning("the platform's keys could not be fetched: %s", self._failure)
            else:
                self._failure = ""
                self._on_fetch("fetched")
                self._next_fetch_at = self._clock() + MIN_REFETCH_INTERVAL
                self._stale_at = self._clock() + self._ttl

    async def _fetch(self) -> tuple[jwt.PyJWK, ...]:
        """Fetch and read the document. Raises httpx.HTTPError, TimeoutError or ValueError."""
        headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
        body = bytearray()
        async with (
            asyncio.timeout(TIMEOUT),
            self._http.stream(
                "GET", self._url, headers=headers, follow_redirects=False, extensions=call_extensions("jwks", "fetch")
            ) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"answered {response.status_code}")
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise ValueError(f"answered more than {MAX_DOCUMENT_BYTES} bytes")
        return read_keys(bytes(body))


def read_keys(document: bytes) -> tuple[jwt.PyJWK, ...]:
    """The keys of a JSON Web Key Set that can verify a signature, in its order: of two with one `kid` the first counts.

    Left out, as RFC 7517 section 5 asks: keys that are symmetric, private, not for signatures, unreadable or too weak.
    Raises ValueError where no key is left.
    """
    try:
        entries = orjson.loads(document)["keys"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ValueError("answered no key set") from None
    keys = tuple(filter(None, map(_public_key, entries))) if isinstance(entries, list) else ()
    if not keys:
        raise ValueError("answered no usable key")
    return keys


def _public_key(entry: Any) -> jwt.PyJWK | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str | None):
        return None
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    if entry.get("kty") not in _ASYMMETRIC_KEY_TYPES or "d" in entry:
        return None
    try:
        algorithm = _ALGORITHM_ALIASES.get((entry.get("alg"), entry.get("crv")))
        key = jwt.PyJWK(entry if algorithm is None else {**entry, "alg": algorithm})
        # Also holds the curve against the algorithm.
        prepared = key.Algorithm.prepare_key(key.key)
    except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError):
        return None
    return None if key.Algorithm.check_key_length(prepared) else key
