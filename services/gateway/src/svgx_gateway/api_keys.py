"""API keys: auth says whom they stand for, the gateway remembers it for a while."""

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass

from svgx_common.bus import Bus
from svgx_common.caller import Caller
from svgx_common.contract.api_keys import CHECK_API_KEY, CheckApiKeyRequest
from svgx_common.contract.errors import SvgxError, Unauthenticated
from svgx_gateway.revocations import Revocations

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
        self._known: OrderedDict[bytes, tuple[float, KeyHolder | None]] = OrderedDict()
        revocations.on_revoked(self._forget_revoked)

    async def holder(self, key: str) -> KeyHolder:
        """Whom the key stands for. Raises `Unauthenticated`, or what auth's absence raises."""
        refused = Unauthenticated("the API key has ended, or is none")
        if len(key) > MAX_KEY:
            raise refused
        digest = hashlib.sha256(key.encode()).digest()
        at, holder = self._known.get(digest, (-STALE, None))
        age = time.monotonic() - at
        if holder is None and age < REFUSED:
            raise refused
        if holder is not None and holder.expires_at <= time.time():
            raise refused
        if holder is not None and age < FRESH:
            return holder
        try:
            found = await self._ask(key)
        except Unauthenticated:
            self._remember(digest, None)
            raise
        except SvgxError:
            if holder is not None and age < STALE:
                return holder
            raise
        self._remember(digest, found)
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

    def _remember(self, digest: bytes, holder: KeyHolder | None) -> None:
        self._known[digest] = (time.monotonic(), holder)
        self._known.move_to_end(digest)
        while len(self._known) > MAX_ENTRIES:
            self._known.popitem(last=False)

    def _forget_revoked(self) -> None:
        """Asked again, auth knows whether the key has ended or its account has another role."""
        for digest, (_, holder) in list(self._known.items()):
            if holder is not None and self._revocations.revoked(holder.caller):
                del self._known[digest]
