"""The cache of a service's answers about the tokens of clients: API keys and share links."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

REFUSED_SECONDS = 10.0
"""Lifetime of a cached refusal, in seconds."""

MAX_ENTRIES = 10_000
"""Largest number of cached answers, and of cached refusals. Beyond it, the oldest entry is removed."""

Answer = TypeVar("Answer")
Value = TypeVar("Value")


def digest_of(token: str) -> bytes:
    """Return the hash of a token, which is its key in the cache."""
    return hashlib.sha256(token.encode()).digest()


class TokenCache(Generic[Answer]):
    """The answers about valid tokens, and the refusals of other tokens, by the hashes of the tokens.

    The cache does not contain the tokens.
    """

    def __init__(self) -> None:
        self._answers: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()
        # Refusals are cached separately. Otherwise a client with many invented tokens would displace the valid tokens.
        self._refused: OrderedDict[bytes, float] = OrderedDict()

    def is_refused(self, digest: bytes) -> bool:
        """Return whether the token was refused in the last `REFUSED_SECONDS`."""
        return time.monotonic() - self._refused.get(digest, -REFUSED_SECONDS) < REFUSED_SECONDS

    def find(self, digest: bytes) -> tuple[float, Answer | None]:
        """Return the age in seconds and the answer about a token. The answer is None if it is not cached."""
        if (found := self._answers.get(digest)) is None:
            return 0.0, None
        since, answer = found
        return time.monotonic() - since, answer

    def add(self, digest: bytes, answer: Answer) -> None:
        """Add the answer about a valid token."""
        _store(self._answers, digest, (time.monotonic(), answer))

    def refuse(self, digest: bytes) -> None:
        """Add the refusal of a token, and remove an earlier answer."""
        self._answers.pop(digest, None)
        _store(self._refused, digest, time.monotonic())

    def forget(self, is_outdated: Callable[[Answer], bool]) -> None:
        """Remove the outdated answers."""
        for digest, (_, answer) in list(self._answers.items()):
            if is_outdated(answer):
                del self._answers[digest]


def _store(cache: OrderedDict[bytes, Value], digest: bytes, value: Value) -> None:
    cache[digest] = value
    cache.move_to_end(digest)
    while len(cache) > MAX_ENTRIES:
        cache.popitem(last=False)
