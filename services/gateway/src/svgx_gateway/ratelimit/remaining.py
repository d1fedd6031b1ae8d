"""The number of tokens that remain in each bucket, as far as this gateway knows."""

from collections import OrderedDict

from svgx_common.contract.ratelimits import RateLimit

MAX_KEYS = 10_000
"""Largest number of keys. Beyond it, the key that was counted least recently is removed."""


class RemainingTokens:
    """The remaining tokens of each bucket after the last count, less the requests that began since."""

    def __init__(self) -> None:
        self._remaining: OrderedDict[str, int] = OrderedDict()

    def take(self, key: str, limit: RateLimit) -> bool:
        """Take a token if at least half of the bucket's tokens remain afterwards. Return whether it was taken."""
        remaining = self._remaining.get(key, 0) - 1
        if 2 * remaining < limit.requests:
            return False
        self._remaining[key] = remaining
        return True

    def set(self, key: str, remaining: int) -> None:
        """Store the number of tokens that remain after a request was counted."""
        self._remaining[key] = remaining
        self._remaining.move_to_end(key)
        if len(self._remaining) > MAX_KEYS:
            self._remaining.popitem(last=False)
