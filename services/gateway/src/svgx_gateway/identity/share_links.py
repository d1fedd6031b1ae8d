"""Share links. The state service checks their tokens; the gateway caches the answers.

The role that a link gives is not cached here. `CanvasRoles` asks for this role, as it does for the role of a member.
So a revoked link stops giving a role as soon as the state service has announced the change.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from svgx_common.contract.errors import Unauthenticated
from svgx_common.contract.storage.links import (
    CHECK_LINK,
    MAX_LINK_TOKEN_CHARACTERS,
    CheckLinkRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_gateway.observability.cache_use import cache_counters

HITS, MISSES = cache_counters("share_links")

FRESH_SECONDS = 30.0
"""Age of a cached answer, in seconds, beyond which the state service is asked again."""

REFUSED_SECONDS = 10.0
"""Lifetime of a cached refusal, in seconds."""

MAX_ENTRIES = 10_000
"""Largest number of cached links, and of cached refusals. Beyond it, the oldest entry is removed."""


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
    """The state service's answers about tokens, with a cache. The cache contains hashes of tokens, not the tokens."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: OrderedDict[bytes, tuple[float, ShareLink]] = OrderedDict()
        # Refusals are cached separately. Otherwise a client with many invented tokens would displace the valid links.
        self._refused: OrderedDict[bytes, float] = OrderedDict()

    async def find(self, token: str, count_lookup: Callable[[], Awaitable[None]]) -> ShareLink:
        """Return the link of a token.

        `count_lookup` is awaited before the state service is asked about a token that is not cached.

        Raises `Unauthenticated` for a token that is not valid, and the errors of `count_lookup` and of the call to the
        state service.
        """
        refusal = Unauthenticated("the share link is not valid", field="link")
        if len(token) > MAX_LINK_TOKEN_CHARACTERS:
            raise refusal
        digest = hashlib.sha256(token.encode()).digest()
        now = time.monotonic()
        if now - self._refused.get(digest, -REFUSED_SECONDS) < REFUSED_SECONDS:
            raise refusal
        known_at, known = self._known.get(digest, (-FRESH_SECONDS, None))
        if known is not None and known.expired:
            raise refusal
        if known is not None and now - known_at < FRESH_SECONDS:
            HITS.inc()
            return known
        if known is None:
            await count_lookup()
        MISSES.inc()
        try:
            checked = await self._bus.ask(CHECK_LINK, CheckLinkRequest(token=token))
        except Unauthenticated:
            self._known.pop(digest, None)
            self._refused[digest] = now
            self._refused.move_to_end(digest)
            while len(self._refused) > MAX_ENTRIES:
                self._refused.popitem(last=False)
            raise refusal from None
        link = ShareLink(checked.id, checked.canvas_id, checked.expires_at, checked.created_by)
        self._known[digest] = (time.monotonic(), link)
        self._known.move_to_end(digest)
        while len(self._known) > MAX_ENTRIES:
            self._known.popitem(last=False)
        return link
