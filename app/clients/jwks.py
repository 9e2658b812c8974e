"""The platform's public keys (JSON Web Key Set, RFC 7517), fetched from AUTH_JWKS_URL and cached."""

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

TTL = timedelta(minutes=10)  # how long keys count as fresh
MIN_REFETCH_INTERVAL = 10.0  # seconds between two fetches, however many unknown `kid`s callers present
MIN_REFETCH_INTERVAL_WITHOUT_KEYS = 1.0  # seconds; nobody can sign in until the first fetch succeeds
TIMEOUT = 5.0  # seconds for a whole fetch
MAX_DOCUMENT_BYTES = 256 * 1024
_ASYMMETRIC_KEY_TYPES = frozenset({"EC", "RSA", "OKP"})
# RFC 9864 names algorithms together with their curve. PyJWT knows only the older names.
_ALGORITHM_ALIASES: dict[tuple[Any, Any], str] = {("ESP256", "P-256"): "ES256", ("Ed25519", "Ed25519"): "EdDSA"}
_log = logging.getLogger("jwks")


class UnknownKey(Exception):
    """The platform publishes no key with that `kid`, so the token cannot be trusted."""


class KeysUnavailable(Exception):
    """The keys cannot be fetched now, so the token can be neither accepted nor refused.

    The text says why.
    """


class Jwks:
    """The platform's keys. Stale keys stay in use while the platform does not answer or answers nonsense."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        ttl: timedelta = TTL,
        clock: Callable[[], float] = time.monotonic,
        on_fetch: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Create an empty cache; the first call that needs a key fetches the keys.

        `clock` returns seconds from any starting point. `on_fetch` is called with "fetched" or "failed" after each
        fetch.
        """
        self._http = http
        self._url = url
        self._ttl = ttl.total_seconds()
        self._clock = clock
        self._on_fetch = on_fetch
        self._keys: tuple[jwt.PyJWK, ...] = ()
        self._failure = "not fetched yet"
        self._stale_at = -math.inf
        self._next_fetch_at = -math.inf  # no fetch before this time
        self._fetch_lock = asyncio.Lock()

    def cached(self, kid: str | None) -> jwt.PyJWK | None:
        """Return a key that can be used at once, or None if the caller must await `key`.

        With `kid` None it is the only key, if there is exactly one. While one caller waits for a refresh, and for a
        while after a failed one, all others go on with stale keys.
        """
        found = self._find(kid)
        if found is not None:
            now = self._clock()
            if now < self._stale_at or now < self._next_fetch_at or self._fetch_lock.locked():
                return found
        return None

    async def key(self, kid: str | None) -> jwt.PyJWK:
        """Return the key with that `kid` and its algorithm. Raises UnknownKey or KeysUnavailable."""
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
        """Fetch the keys again and return the new key under the same `kid`, or None if there is no new one.

        Callers use it for a signature that does not fit `key`, because the platform may replace a key under its `kid`.
        None means: the same key, no key, or the last fetch was only a moment ago.
        """
        await self._refresh()
        found = self._find(key.key_id)
        return (
            found if found is not None and (found.algorithm_name, found.key) != (key.algorithm_name, key.key) else None
        )

    async def ready(self) -> None:
        """Make sure that there are keys, even if they are stale. Raises KeysUnavailable."""
        if self._clock() >= self._stale_at:
            await self._refresh()
        if not self._keys:
            raise KeysUnavailable(self._failure)

    def _find(self, kid: str | None) -> jwt.PyJWK | None:
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.key_id == kid), None)

    async def _refresh(self) -> None:
        # A caller that waited for the lock finds `_next_fetch_at` in the future and shares the keys just fetched.
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
        """Fetch and parse the document. Raises httpx.HTTPError, TimeoutError or ValueError."""
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
    """Return the keys of a JSON Web Key Set that can verify a signature, in its order.

    If two keys have the same `kid`, the first counts. As RFC 7517 section 5 asks, the function ignores keys that are
    symmetric, private, not for signatures, unreadable or too weak. Raises ValueError if no key is left.
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
        # This also checks that the curve fits the algorithm.
        prepared = key.Algorithm.prepare_key(key.key)
    except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError):
        return None
    return None if key.Algorithm.check_key_length(prepared) else key
