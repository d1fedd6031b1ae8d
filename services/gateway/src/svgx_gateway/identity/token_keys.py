"""The keys that verify access tokens: the secret shared with auth, and the public keys that auth publishes."""

import asyncio
import dataclasses
import time

import structlog

from svgx_common.contract.auth import JWKS, JwksRequest
from svgx_common.contract.errors import SvgxError, Unavailable
from svgx_common.messaging.bus import Bus
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.access_tokens import AccessClaims
from svgx_common.tokens.signing_keys import CheckingKeys, TokenKey, UnknownKey, read_key, secret_key
from svgx_gateway.identity.identity import Identity
from svgx_gateway.watched_copy import WatchedCopy

log = structlog.get_logger(__name__)

READ_AGAIN_SECONDS = 30.0
"""Minimum time in seconds from a successful read for an unknown key to the next read for an unknown key.

A token with an unknown key causes a read of the published keys. The limit is needed because a client can invent such
tokens.
"""

RETRY_SECONDS = 1.0
"""Minimum time in seconds from a failed read for an unknown key to the next, because auth may be overloaded."""

MAX_VERIFIED = 10_000
"""Largest number of verified tokens that are kept until the next read of the keys. Beyond it, the oldest is removed."""


class TokenKeys:
    """Verifies access tokens. Without secrets, only tokens that are signed with a published key are valid.

    The keys are read every 30 s (`WatchedCopy`), and each read empties the cache of verified tokens. Therefore, while
    auth answers, tokens of a removed key, such as a leaked one, are refused after 30 s at the latest. While `secret` is
    being replaced, `other_secret` is the previous or the next secret, and verifies tokens too.
    """

    def __init__(self, bus: Bus, secret: str, other_secret: str = "") -> None:
        self._bus = bus
        self._keys = CheckingKeys(
            secret_key(secret) if secret else None,
            other_secret=secret_key(other_secret) if other_secret else None,
        )
        self._verified: dict[str, tuple[AccessClaims, Identity]] = {}
        self._answered_at = -READ_AGAIN_SECONDS
        self._failed_at = -RETRY_SECONDS
        self._lock = asyncio.Lock()
        self._reads = 0
        """The number of reads of the published keys so far."""
        self._latest = 0
        """The number of the latest read that was answered. The first read has the number 1."""
        self._copy = WatchedCopy("token keys", bus, self._read_and_warn)

    async def start(self) -> None:
        """Keep the published keys current until `stop`."""
        await self._copy.start()

    async def stop(self) -> None:
        """Stop reading the published keys."""
        await self._copy.stop()

    async def ready(self) -> None:
        """Raise `ConnectionError` while there is no key that verifies tokens. The health report calls this."""
        if not self._has_key():
            raise ConnectionError

    async def verify(self, token: str) -> AccessClaims:
        """Return the token's claims. Raise as `identify` does."""
        claims, _ = await self._verify(token)
        return claims

    async def identify(self, token: str) -> Identity:
        """Return the identity of a token's account. Raise `Unauthenticated` when the token is not valid.

        When the token's key is unknown and the auth service does not answer, raise `Unavailable` or `DeadlineExceeded`.
        """
        _, identity = await self._verify(token)
        return identity

    async def _verify(self, token: str) -> tuple[AccessClaims, Identity]:
        verified = self._verified.get(token)
        if verified is not None and not verified[0].expired():
            return verified
        try:
            claims = tokens.verify(token, self._keys)
        except UnknownKey:
            await self._read_for_unknown_key()
            claims = tokens.verify(token, self._keys)
        if len(self._verified) >= MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        verified = claims, Identity(claims.caller(), claims.expires_at)
        self._verified[token] = verified
        return verified

    async def _read_for_unknown_key(self) -> None:
        # Requests that arrive during a read wait for its end, and do not read again, even if it failed.
        async with self._lock:
            now = time.monotonic()
            if now - self._answered_at < READ_AGAIN_SECONDS:
                return
            if now - self._failed_at < RETRY_SECONDS:
                raise Unavailable("the token's key is not known yet; try again", retry_after=1.0)
            try:
                await self._read()
            except SvgxError:
                self._failed_at = time.monotonic()
                raise
            self._answered_at = time.monotonic()

    async def _read_and_warn(self) -> None:
        await self._read()
        if not self._has_key():
            log.warning(
                "there is no key that verifies tokens: set JWT_SECRET of the gateway,"
                " or JWT_KEYS_FILE of auth"
            )

    async def _read(self) -> None:
        """Read the published keys. Ignore the answer if a later read, perhaps with a newer key, was answered first."""
        self._reads += 1
        number = self._reads
        answer = await self._bus.ask(JWKS, JwksRequest())
        if number < self._latest:
            return
        self._latest = number
        public: dict[str, TokenKey] = {}
        for jwk in answer.keys:
            try:
                key = read_key(jwk)
            except ValueError as error:
                log.warning("a published token key cannot be read", error=str(error))
                continue
            public[str(key.key_id)] = key
        self._keys = dataclasses.replace(self._keys, public=public)
        self._verified.clear()

    def _has_key(self) -> bool:
        secrets = (self._keys.secret, self._keys.other_secret)
        return any(key is not None for key in secrets) or bool(self._keys.public)
