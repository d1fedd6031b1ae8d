"""API keys. The auth service checks them; the gateway caches the answers."""

import time
from collections.abc import Awaitable, Callable

from svgx_common.contract.api_keys import CHECK_API_KEY, CheckApiKeyRequest
from svgx_common.contract.errors import SvgxError, Unauthenticated
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.identity import Identity
from svgx_gateway.identity.revocations import Revocations
from svgx_gateway.identity.token_cache import TokenCache, digest_of
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


class ApiKeys:
    """The auth service's answers about API keys, with a cache."""

    def __init__(self, bus: Bus, revocations: Revocations) -> None:
        self._bus = bus
        self._revocations = revocations
        self._cache = TokenCache[Identity]()
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
        digest = digest_of(key)
        if self._cache.is_refused(digest):
            raise refusal
        age, cached = self._cache.find(digest)
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
            self._cache.refuse(digest)
            raise
        except SvgxError:
            if cached is not None and age < STALE_SECONDS:
                return cached
            raise
        # After a revocation during the request, the answer may be outdated, so it is not cached.
        if not self._revocations.revoked(identity.caller):
            self._cache.add(digest, identity)
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
        self._cache.forget(lambda identity: self._revocations.revoked(identity.caller))
