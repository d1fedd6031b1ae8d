"""Token buckets on a real server, and without one."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from svgx_common import redis
from svgx_common.contract.ratelimits import RateLimit
from svgx_devstack import DevStack
from svgx_gateway.ratelimit.buckets import LOCAL, Buckets


@pytest.fixture
async def two(backing: DevStack) -> AsyncIterator[tuple[Buckets, Buckets]]:
    """The buckets of two gateways."""
    one, other = (Buckets(redis.open_unpooled(backing.redis_url)) for _ in range(2))
    yield one, other
    await one.close()
    await other.close()


def counted_locally() -> float:
    return float(LOCAL._value.get())


async def test_two_gateways_let_in_as_many_as_one(two: tuple[Buckets, Buckets]) -> None:
    """Proves R-LIMIT-2: 200 requests at once, over two gateways."""
    key, limit = secrets.token_hex(8), RateLimit(requests=40, seconds=86_400)
    before = counted_locally()
    drawn = await asyncio.gather(*(two[n % 2].take(key, limit) for n in range(200)))
    assert counted_locally() == before
    assert sum(each.allowed for each in drawn) == 40
    assert sorted(each.remaining for each in drawn if each.allowed) == list(range(40))
    refused = [each for each in drawn if not each.allowed]
    # One comes back in 86,400 / 40 s, all of them within the window.
    assert all(2000 < each.retry_after <= 2160 for each in refused)
    assert all(86_000 < each.reset <= 86_400 for each in refused)


async def test_after_the_time_it_names_one_more_is_let_in(two: tuple[Buckets, Buckets]) -> None:
    """Proves R-LIMIT-1."""
    key, limit = secrets.token_hex(8), RateLimit(requests=5, seconds=1)
    while (refused := await two[0].take(key, limit)).allowed:
        pass
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_later(refused.retry_after + 0.01, passed.set_result, None)
    await passed
    assert (await two[1].take(key, limit)).allowed
    assert not (await two[0].take(key, limit)).allowed


async def test_a_restart_of_redis_between_two_requests_goes_unnoticed(
    backing: DevStack, two: tuple[Buckets, Buckets]
) -> None:
    """Proves R-LIMIT-6: that the connection is dead is no reason to count alone."""
    key, limit = secrets.token_hex(8), RateLimit(requests=3, seconds=3600)
    await two[0].take(key, limit)
    before = counted_locally()
    valkey = backing.process("valkey")
    await valkey.stop()
    await valkey.start()
    await valkey.wait_ready()
    assert (await two[0].take(key, limit)).allowed
    assert counted_locally() == before


@pytest.mark.parametrize("outage", ["kill", "pause"])
async def test_without_redis_a_gateway_limits_by_itself(
    backing: DevStack, two: tuple[Buckets, Buckets], outage: str
) -> None:
    """Proves R-LIMIT-6: whether it refuses or is silent; only the first request waits, and not for long."""
    key, limit = secrets.token_hex(8), RateLimit(requests=3, seconds=3600)
    await two[0].take(key, limit)
    valkey = backing.process("valkey")
    before = counted_locally()
    if outage == "kill":
        valkey.restart = False
        valkey.kill()
    else:
        valkey.pause()
    loop = asyncio.get_running_loop()
    began = loop.time()
    drawn = [await two[0].take(key, limit) for _ in range(5)]
    assert loop.time() - began < 1.0
    assert [each.allowed for each in drawn] == [True, True, True, False, False]
    assert counted_locally() == before + 5
    if outage == "kill":
        valkey.restart = True
        await valkey.start()
    else:
        valkey.resume()
    await valkey.wait_ready()
    while two[0]._probing is not None:
        await asyncio.wait({two[0]._probing})
    assert counted_locally() == before + 5
    await two[0].take(key, limit)
    assert counted_locally() == before + 5
