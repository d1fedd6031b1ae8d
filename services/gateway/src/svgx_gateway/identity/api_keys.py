"""API keys. The auth service checks them; the gateway caches the answers."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from svgx_common.contract.api_keys import CHECK_API_KEY, CheckApiKeyRequest
from svgx_common.contract.errors import SvgxError, Unauthenticated
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.identity import Identity
from svgx_gateway.identity.revocations import Revocations
from svgx_gateway.observability.cache_use import cache_counters

HITS, MISSES = cache_counters("api_keys")

API_KEY_PREFIX = "svgx_"
"""The beginning of every API key. No access token begins like this."""

MAX_KEY_LENGTH = 128
"""Largest number of characters of a key. Longer keys are refused without asking the auth service."""

FRESH_SECONDS = 30.0
"""Age of a cached answer, in seconds, beyond which auth is asked again. A revocation removes the answer at once."""

STALE_SECONDS = 600.0
"""Age of a cached answer, in seconds, beyond which it is not used even while the auth service does not answer."""

REFUSED_SECONDS = 10.0
"""Lifetime of a cached refusal, in seconds."""

MAX_ENTRIES = 10_000
"""Largest number of cached keys, and of cached refusals. Beyond it, the oldest entry is removed."""

Value = TypeVar("Value")


class ApiKeys:
    """The auth service's answers about API keys, with a cache. The cache contains hashes of keys, not the keys."""

    def __init__(self, bus: Bus, revocations: Revocations) -> None:
        self._bus = bus
        self._revocations = revocations
        self._cache: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()
        # Refusals are cached separately. Otherwise a client with many invented keys would displace the valid keys.
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        revocations.on_revoked(self._forget_revoked)

    async def identity(self, key: str, count_lookup: Callable[[], Awaitable[None]]) -> Identity:
        """Return the identity of a key.

        Raise `Unauthenticated` for a key that is not valid, or an error of the call to the auth service.
        `count_lookup` is awaited before the auth service is asked about a key that is not cached. An error of
        `count_lookup` is raised too.
        """
        refusal = Unauthenticated("the API key is not valid")
        if len(key) > MAX_KEY_LENGTH:
            raise refusal
        digest = hashlib.sha256(key.encode()).digest()
        now = time.monotonic()
        if now - self._refused.get(digest, -REFUSED_SECONDS) < REFUSED_SECONDS:
            raise refusal
        cached_at, cached = self._cache.get(digest, (-STALE_SECONDS, None))
        age = now - cached_at
        if cached is None:
            await count_lookup()
        elif cached.expires_at <= time.time():
            raise refusal
        elif age < FRESH_SECONDS:
            HITS.inc()
            return cached
        MISSES.inc()
        try:
            identity = await self._ask(key)
        except Unauthenticated:
            self._cache.pop(digest, None)
            _store(self._refused, digest, time.monotonic())
            raise
        except SvgxError:
            if cached is not None and age < STALE_SECONDS:
                return cached
            raise
        # After a revocation during the request, the answer may be outdated, so it is not cached.
        if not self._revocations.revoked(identity.caller):
            _store(self._cache, digest, (time.monotonic(), identity))
        return identity

    async def _ask(self, key: str) -> Identity:
        checked = await self._bus.ask(CHECK_API_KEY, CheckApiKeyRequest(key=key))
        caller = Caller(
            user_id=checked.user_id,
            username=checked.username,
            role=checked.role,
            session_id=checked.key_id,
            token_version=checked.token_version,
            by_key=True,
            account_role=checked.account_role,
        )
        return Identity(caller, checked.expires_at)

    def _forget_revoked(self) -> None:
        """Remove the answers that a revocation concerns, so that the auth service is asked again.

        A change of an account counts as a revocation here, but the account's keys may still be valid.
        """
        for digest, (_, identity) in list(self._cache.items()):
            if self._revocations.revoked(identity.caller):
                del self._cache[digest]


def _store(cache: OrderedDict[bytes, Value], digest: bytes, value: Value) -> None:
    cache[digest] = value
    cache.move_to_end(digest)
    while len(cache) > MAX_ENTRIES:
        cache.popitem(last=False)
