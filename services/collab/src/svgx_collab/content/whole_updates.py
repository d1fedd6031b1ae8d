"""A cache of encoded canvases: updates with the whole content of a canvas that clients requested recently. No I/O."""

import time
from collections import OrderedDict
from collections.abc import Callable

from svgx_yjs.record import record

MAX_BYTES = 64 * 1024 * 1024
"""Limit of the cache of a replica, in bytes. Beyond it, the least recently used contents are forgotten."""

LARGE_BYTES = 256 * 1024
"""Minimum size of a cached content, in bytes. A smaller content is encoded within a millisecond."""

KEEP_SECONDS = 30.0
"""Seconds from the last use of a content until it is forgotten."""


@record
class _CachedContent:
    """The encoded content of a document at a version.

    `used_at` is the time of its last use, in seconds of the clock.
    """

    version: int
    update: bytes
    used_at: float


class WholeUpdates:
    """A cache with at most one encoded content for each room. The key is the room's epoch.

    pycrdt needs 40 ms to encode 8 MB, and blocks the replica meanwhile. Each client that joins asks for the whole
    content, and most large canvases do not change between two joins.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, _CachedContent] = OrderedDict()
        """The contents, the longest unused first."""
        self._size = 0

    def find(self, epoch: str, version: int) -> bytes | None:
        """Return the content of a room at this version, or None if it is not kept."""
        cached = self._kept.pop(epoch, None)
        if cached is None:
            return None
        if cached.version != version:
            self._size -= len(cached.update)
            return None
        self._kept[epoch] = _CachedContent(version, cached.update, self._clock())
        return cached.update

    def keep(self, epoch: str, version: int, update: bytes) -> None:
        """Keep the content of a room at this version if it is large. Call `find` first: it must have returned None."""
        if LARGE_BYTES <= len(update) <= MAX_BYTES:
            self._kept[epoch] = _CachedContent(version, update, self._clock())
            self._size += len(update)
            while self._size > MAX_BYTES:
                self._forget_first()

    def forget_unused(self) -> None:
        """Forget the contents that were not used for `KEEP_SECONDS`."""
        earliest = self._clock() - KEEP_SECONDS
        while self._kept and next(iter(self._kept.values())).used_at < earliest:
            self._forget_first()

    def _forget_first(self) -> None:
        _, cached = self._kept.popitem(last=False)
        self._size -= len(cached.update)
