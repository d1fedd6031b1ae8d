"""The keys access tokens are checked with: the secret, and the public keys that auth publishes."""

import asyncio
import time

import structlog

from svgx_common.background import repeat
from svgx_common.contract.auth import JWKS, JwksRequest
from svgx_common.contract.errors import SvgxError
from svgx_common.messaging.bus import Bus
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.access_tokens import AccessClaims
from svgx_common.tokens.signing_keys import CheckingKeys, TokenKey, UnknownKey, read_key, secret_key

log = structlog.get_logger(__name__)

POLL = 30.0
"""Seconds between two looks at what auth publishes: a key that leaked and was removed counts no longer than that."""

ASK_AGAIN = 30.0
"""Seconds in which unknown keys make this ask once: anybody can name a key that does not exist."""

MOST_VERIFIED = 10_000
"""Tokens whose signature is not checked again until the keys are looked at; past that, the oldest is."""

RETRY = 1.0
"""Seconds until auth is asked again after it did not answer."""


class TokenKeys:
    """Checks tokens. Without `secret` only those count that are signed with a key of auth's."""

    def __init__(self, bus: Bus, secret: str) -> None:
        self._bus = bus
        self._keys = CheckingKeys(secret_key(secret) if secret else None)
        self._verified: dict[str, AccessClaims] = {}
        self._asked_at = -ASK_AGAIN
        self._lock = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for keys now, and now and then."""
        self._looking = asyncio.create_task(repeat("look for keys", self._look))

    def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def ready(self) -> None:
        """Return when there is something to check tokens with; for the health report."""
        if self._keys.secret is None and not self._keys.public:
            raise ConnectionError

    async def verify(self, token: str) -> AccessClaims:
        """What the token says. Raises `Unauthenticated`, or `Unavailable` when auth must be asked and is away."""
        claims = self._verified.get(token)
        if claims is not None and not claims.expired():
            return claims
        try:
            claims = tokens.verify(token, self._keys)
        except UnknownKey:
            await self._ask_for_unknown()
            claims = tokens.verify(token, self._keys)
        if len(self._verified) >= MOST_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = claims
        return claims

    async def _ask_for_unknown(self) -> None:
        # Those that come while one asks wait for its answer.
        async with self._lock:
            if time.monotonic() - self._asked_at >= ASK_AGAIN:
                await self._fetch()
                self._asked_at = time.monotonic()

    async def _look(self) -> None:
        try:
            await self._fetch()
        except SvgxError:
            await asyncio.sleep(RETRY)
            return
        if not self._keys.public and self._keys.secret is None:
            log.warning(
                "nothing to check tokens with: set JWT_SECRET here, or JWT_KEYS_FILE at auth"
            )
        await asyncio.sleep(POLL)

    async def _fetch(self) -> None:
        answer = await self._bus.ask(JWKS, JwksRequest())
        public: dict[str, TokenKey] = {}
        for jwk in answer.keys:
            try:
                key = read_key(jwk)
            except ValueError as error:
                log.warning("a key of auth's cannot be read", error=str(error))
                continue
            public[str(key.key_id)] = key
        self._keys = CheckingKeys(self._keys.secret, public)
        self._verified.clear()
