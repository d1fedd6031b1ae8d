"""Share links. The state service checks their tokens; the gateway caches the answers.

The role that a link gives is not cached here. `CanvasRoles` asks for this role, as it does for the role of a member.
So a revoked link stops giving a role as soon as the state service has announced the change.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from svgx_common.contract.errors import Unauthenticated
from svgx_common.contract.storage.links import (
    CHECK_LINK,
    MAX_LINK_TOKEN_CHARACTERS,
    CheckLinkRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_gateway.identity.token_cache import TokenCache, digest_of
from svgx_gateway.observability.cache_use import cache_counters

HITS, MISSES = cache_counters("share_links")

FRESH_SECONDS = 30.0
"""Age of a cached answer, in seconds, beyond which the state service is asked again."""


@dataclass(frozen=True, slots=True)
class ShareLink:
    """A share link that a request carries. `expires_at` is in Unix seconds, or None for a link without an end."""

    id: str
    canvas_id: str
    expires_at: float | None
    created_by: str | None = None

    @property
    def expired(self) -> bool:
        """Return whether the link has expired."""
        return self.expires_at is not None and self.expires_at <= time.time()


class ShareLinks:
    """The state service's answers about tokens, with a cache."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._cache = TokenCache[ShareLink]()

    async def find(self, token: str, count_lookup: Callable[[], Awaitable[None]]) -> ShareLink:
        """Return the link of a token.

        `count_lookup` is awaited before the state service is asked about a token that is not cached.

        Raises `Unauthenticated` for a token that is not valid, and the errors of `count_lookup` and of the call to the
        state service.
        """
        refusal = Unauthenticated("the share link is not valid", field="link")
        if len(token) > MAX_LINK_TOKEN_CHARACTERS:
            raise refusal
        digest = digest_of(token)
        if self._cache.is_refused(digest):
            raise refusal
        age, cached = self._cache.find(digest)
        if cached is None:
            await count_lookup()
        elif cached.expired:
            raise refusal
        elif age < FRESH_SECONDS:
            HITS.inc()
            return cached
        MISSES.inc()
        try:
            checked = await self._bus.ask(CHECK_LINK, CheckLinkRequest(token=token))
        except Unauthenticated:
            self._cache.refuse(digest)
            raise refusal from None
        link = ShareLink(checked.id, checked.canvas_id, checked.expires_at, checked.created_by)
        self._cache.add(digest, link)
        return link
