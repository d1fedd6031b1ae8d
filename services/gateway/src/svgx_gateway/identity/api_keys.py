"""API keys: auth says whom they stand for, the gateway remembers it for a while."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from svgx_common.contract.api_keys import CHECK_API_KEY, CheckApiKeyRequest
from svgx_common.contract.errors import SvgxError, Unauthenticated
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.revocations import Revocations

MARK = "svgx_"
"""What every key begins with; no token does."""

MAX_KEY = 128
"""Characters; longer ones are not looked at."""

FRESH = 30.0
"""Seconds an answer is used without asking again. What is revoked is forgotten at once."""

STALE = 600.0
"""Seconds an answer is used while auth does not answer."""

REFUSED = 10.0
"""Seconds a refusal is remembered."""

MAX_ENTRIES = 10_000
"""Keys remembered, and as many refusals."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whom a key stands for, and until when, in Unix seconds."""

    caller: Caller
    expires_at: int


class ApiKeys:
    """Asks auth, at most every `FRESH` seconds for each key. Keys are not kept: only their hashes are."""

    def __init__(self, bus: Bus, revocations: Revocations) -> None:
        self._bus = bus
        self._revocations = revocations
        self._known: OrderedDict[bytes, tuple[float, KeyHolder]] = OrderedDict()
        # Apart: whoever makes keys up would drive the good ones out.
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        revocations.on_revoked(self._forget_revoked)

    async def holder(self, key: str, stranger: Callable[[], Awaitable[None]]) -> KeyHolder:
        """Whom the key stands for. Raises `Unauthenticated`, or what auth's absence raises.

        `stranger` is awaited before auth is asked about a key that nothing is known of; what it raises is raised.
        """
        refused = Unauthenticated("the API key has ended, or is none")
        if len(key) > MAX_KEY:
            raise refused
        digest = hashlib.sha256(key.encode()).digest()
        now = time.monotonic()
        if now - self._refused.get(digest, -REFUSED) < REFUSED:
            raise refused
        at, holder = self._known.get(digest, (-STALE, None))
        age = now - at
        if holder is None:
            await stranger()
        elif holder.expires_at <= time.time():
            raise refused
        elif age < FRESH:
            return holder
        try:
            found = await self._ask(key)
        except Unauthenticated:
            self._known.pop(digest, None)
            _remember(self._refused, digest, time.monotonic())
            raise
        except SvgxError:
            if holder is not None and age < STALE:
                return holder
            raise
        _remember(self._known, digest, (time.monotonic(), found))
        return found

    async def _ask(self, key: str) -> KeyHolder:
        checked = await self._bus.ask(CHECK_API_KEY, CheckApiKeyRequest(key=key))
        caller = Caller(
            user_id=checked.user_id,
            username=checked.username,
            role=checked.role,
            session_id=checked.key_id,
            token_version=checked.token_version,
            by_key=True,
        )
        return KeyHolder(caller, checked.expires_at)

    def _forget_revoked(self) -> None:
        """Asked again, auth knows whether the key has ended or its account has another role."""
        for digest, (_, holder) in list(self._known.items()):
            if self._revocations.revoked(holder.caller):
                del self._known[digest]


def _remember(answers: OrderedDict[bytes, Value], digest: bytes, value: Value) -> None:
    answers[digest] = value
    answers.move_to_end(digest)
    while len(answers) > MAX_ENTRIES:
        answers.popitem(last=False)
