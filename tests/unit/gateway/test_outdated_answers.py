"""Answers about the state of another service that are outdated when they arrive."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from svgx_auth.rotate_keys import generate
from svgx_common.contract.api_keys import CheckedApiKey
from svgx_common.contract.auth import Jwks
from svgx_common.contract.errors import Unauthenticated
from svgx_common.contract.policy import RateClass, Role
from svgx_common.contract.ratelimits import RATE_LIMITS_CHANGED, RateLimit, RateLimits
from svgx_common.contract.revocations import REVOKED, Revocation, RevocationList
from svgx_common.messaging.bus import Bus, Listener
from svgx_common.messaging.caller import Caller
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.access_tokens import AccessClaims
from svgx_gateway import watched_copy
from svgx_gateway.identity.api_keys import ApiKeys
from svgx_gateway.identity.revocations import Revocations
from svgx_gateway.identity.token_keys import TokenKeys
from svgx_gateway.ratelimit.buckets import Buckets
from svgx_gateway.ratelimit.limiter import RateLimiter
from svgx_gateway.ratelimit.statistics import RateLimitStatistics


class SlowBus:
    """A bus on which the test answers each request at a time of its choice, and publishes broadcasts."""

    def __init__(self) -> None:
        self.listeners: dict[str, Listener] = {}
        self.reconnected: list[Callable[[], Awaitable[None]]] = []
        self._requests: asyncio.Queue[tuple[Any, asyncio.Future[Any]]] = asyncio.Queue()

    async def listen(self, subject: str, listener: Listener) -> None:
        """Add a listener."""
        self.listeners[subject] = listener

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Add a callback."""
        self.reconnected.append(callback)

    async def ask(self, _: object, request: Any) -> Any:
        """Wait for the answer of the test."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._requests.put_nowait((request, answer))
        return await answer

    async def next_request(self) -> tuple[Any, asyncio.Future[Any]]:
        """Return the next request, and the future of its answer."""
        async with asyncio.timeout(10):
            return await self._requests.get()

    async def publish(self, subject: str, payload: RateLimits | RevocationList) -> None:
        """Give a broadcast to its listener."""
        await self.listeners[subject](subject, payload.model_dump_json().encode())

    async def reconnect(self) -> None:
        """Call all callbacks of a reconnect."""
        for callback in self.reconnected:
            await callback()


@pytest.fixture
def slow() -> SlowBus:
    return SlowBus()


@pytest.mark.parametrize(
    ("before", "broadcasts", "answered", "expected"),
    [
        (1, [2], 3, 3),
        (1, [3], 2, 3),
        (1, [2, 4], 3, 4),
        (1, [], 2, 2),
        (5, [], 1, 1),
    ],
    ids=["older broadcast", "newer broadcast", "both", "no broadcast", "restored database"],
)
async def test_newest_rate_limits_stay_in_force(
    slow: SlowBus, before: int, broadcasts: list[int], answered: int, expected: int
) -> None:
    """Proves R-LIMIT-5: of the answer and the broadcasts that arrive before it, the newest stays in force.

    Without such a broadcast the answer stays in force, even if its version is lower after a restore of the database.
    """
    limiter = RateLimiter(
        cast(Bus, slow),
        cast(Buckets, None),
        cast(RateLimitStatistics, None),
        {RateClass.READ: RateLimit(requests=1)},
    )
    starting = asyncio.create_task(limiter.start())
    _, first = await slow.next_request()
    first.set_result(RateLimits(version=before))
    await starting
    await slow.reconnect()
    _, second = await slow.next_request()
    for version in broadcasts:
        await slow.publish(RATE_LIMITS_CHANGED.subject, RateLimits(version=version))
    second.set_result(RateLimits(version=answered))
    await slow.reconnect()
    await slow.next_request()  # the second answer has been handled
    assert limiter.rules.version == expected
    await limiter.stop()


async def test_late_answer_does_not_remove_a_newer_token_key(slow: SlowBus) -> None:
    """Proves R-AUTH-24: the late answer to an older read does not remove a key of a newer answer."""
    entry = generate("ES256", 0)
    now = int(time.time())
    claims = AccessClaims("u", "ada", Role.EDITOR, "s", "t", now, now + 60)
    token = tokens.sign(claims, entry.key)
    keys = TokenKeys(cast(Bus, slow), "")
    await keys.start()
    _, earlier = await slow.next_request()
    verifying = asyncio.create_task(keys.verify(token))
    _, later = await slow.next_request()
    later.set_result(Jwks(keys=[entry.public()]))
    assert await verifying == claims
    earlier.set_result(Jwks(keys=[]))
    await slow.reconnect()
    await slow.next_request()  # the earlier answer has been handled
    assert await keys.verify(token) == claims
    await keys.stop()


async def test_reconnect_during_a_read_makes_the_next_read_complete(
    slow: SlowBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-19: the next read is complete, although the read from before the reconnect was answered."""
    monkeypatch.setattr(watched_copy, "POLL_SECONDS", 0.001)
    revocations = Revocations(cast(Bus, slow))
    starting = asyncio.create_task(revocations.start())
    _, first = await slow.next_request()
    first.set_result(RevocationList(items=[], as_of=datetime.now(UTC)))
    await starting
    incremental, second = await slow.next_request()
    await slow.reconnect()
    second.set_result(RevocationList(items=[], as_of=datetime.now(UTC)))
    complete, _ = await slow.next_request()
    assert incremental.since is not None
    assert complete.since is None
    await revocations.stop()


async def test_late_answer_does_not_lower_a_revoked_token_version(slow: SlowBus) -> None:
    """The answer to a read is older than the broadcast that arrived before it. Proves R-AUTH-18 and R-AUTH-19."""
    revocations = Revocations(cast(Bus, slow))
    notices: list[bool] = []
    caller = Caller("u", "ada", Role.EDITOR, "s", token_version=1)
    revocations.on_revoked(lambda: notices.append(revocations.revoked(caller)))
    starting = asyncio.create_task(revocations.start())
    _, first = await slow.next_request()
    await slow.publish(REVOKED.subject, RevocationList(items=[_CHANGE]))
    older = _CHANGE.model_copy(update={"before_version": 1})
    first.set_result(RevocationList(items=[older], as_of=datetime.now(UTC)))
    await starting
    with pytest.raises(Unauthenticated):
        revocations.check(caller)
    assert notices == [True]
    await revocations.stop()


async def test_answer_from_before_a_revocation_is_not_cached(slow: SlowBus) -> None:
    """Proves R-AUTH-29: when the account of a key changes during the key's check, the next use checks the key again."""
    bus = cast(Bus, slow)
    revocations = Revocations(bus)
    starting = asyncio.create_task(revocations.start())
    _, first = await slow.next_request()
    first.set_result(RevocationList(items=[], as_of=datetime.now(UTC)))
    await starting
    api_keys = ApiKeys(bus, revocations)
    versions = []
    for version in (1, 2):
        identifying = asyncio.create_task(api_keys.identity("svgx_key", _admit))
        _, check = await slow.next_request()
        await slow.publish(REVOKED.subject, RevocationList(items=[_CHANGE]))
        check.set_result(_checked(version))
        versions.append((await identifying).caller.token_version)
    cached = await api_keys.identity("svgx_key", _admit)
    assert [*versions, cached.caller.token_version] == [1, 2, 2]
    await revocations.stop()


_CHANGE = Revocation(user_id="u", before_version=2, until=time.time() + 3600, reason="account")


def _checked(version: int) -> CheckedApiKey:
    return CheckedApiKey(
        key_id="k",
        user_id="u",
        username="u",
        role=Role.VIEWER,
        token_version=version,
        expires_at=2**40,
    )


async def _admit() -> None:
    """Admit every key that is not cached."""
