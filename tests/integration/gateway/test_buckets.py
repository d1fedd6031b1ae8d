"""Token buckets with a real Redis server, and without one."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from structlog.testing import capture_logs

from svgx_common import redis
from svgx_common.contract.ratelimits import RateLimit
from svgx_devstack import DevStack
from svgx_gateway.ratelimit import buckets as module
from svgx_gateway.ratelimit.buckets import LOCAL, Buckets


@pytest.fixture
async def gateways(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Buckets, Buckets]]:
    """Yield the buckets of two gateways. They wait longer for Redis, because the machine may be busy."""
    monkeypatch.setattr(module, "REDIS_TIMEOUT", 5.0)
    one, other = (Buckets(redis.unpooled_connection(backing.redis_url)) for _ in range(2))
    yield one, other
    await one.close()
    await other.close()


def counted_locally() -> float:
    """Return the number of requests counted without Redis."""
    return float(LOCAL._value.get())


async def test_two_gateways_share_one_bucket(gateways: tuple[Buckets, Buckets]) -> None:
    """Of 200 simultaneous requests, two gateways together admit as many as one gateway would. Proves R-LIMIT-2."""
    key, limit = secrets.token_hex(8), RateLimit(requests=40, seconds=86_400)
    before = counted_locally()
    results = await asyncio.gather(*(gateways[n % 2].take(key, limit) for n in range(200)))
    assert counted_locally() == before
    assert sum(each.allowed for each in results) == 40
    assert sorted(each.remaining for each in results if each.allowed) == list(range(40))
    refused = [each for each in results if not each.allowed]
    # A token returns every 86,400 / 40 s, and all of them within the window.
    assert all(2000 < each.retry_after <= 2160 for each in refused)
    assert all(86_000 < each.reset <= 86_400 for each in refused)


async def age_bucket(backing: DevStack, key: str, limit: RateLimit, seconds: float) -> None:
    """Let the bucket regain the tokens of this number of seconds, without a wait."""
    client = redis.connect(backing.redis_url)
    await client.incrbyfloat(f"svgx:rate:{limit.requests}/{limit.seconds}:{key}", -seconds)
    await client.aclose()


async def test_one_request_is_admitted_after_retry_after(
    backing: DevStack, gateways: tuple[Buckets, Buckets]
) -> None:
    """After `retry_after` seconds one more request is admitted. Proves R-LIMIT-1."""
    key, limit = secrets.token_hex(8), RateLimit(requests=5, seconds=86_400)
    while (refused := await gateways[0].take(key, limit)).allowed:
        pass
    await age_bucket(backing, key, limit, refused.retry_after - 60)
    assert not (await gateways[1].take(key, limit)).allowed
    await age_bucket(backing, key, limit, 60.01)
    assert (await gateways[1].take(key, limit)).allowed
    assert not (await gateways[0].take(key, limit)).allowed


async def test_clock_of_redis_set_back_limits_no_request_for_longer(
    backing: DevStack, gateways: tuple[Buckets, Buckets]
) -> None:
    """A bucket with a time an hour after the clock of Redis is full again, and is counted as before.

    Proves R-LIMIT-1.
    """
    key, limit = secrets.token_hex(8), RateLimit(requests=5, seconds=60)
    await gateways[0].take(key, limit)
    await age_bucket(backing, key, limit, -3600)
    results = [await gateways[0].take(key, limit) for _ in range(6)]
    assert [each.allowed for each in results] == [True] * 5 + [False]
    assert results[-1].retry_after <= 12


async def test_restart_of_redis_between_requests_keeps_counting_in_redis(
    backing: DevStack, gateways: tuple[Buckets, Buckets]
) -> None:
    """A broken connection is replaced at once; the request is not counted locally. Proves R-LIMIT-6."""
    key, limit = secrets.token_hex(8), RateLimit(requests=3, seconds=3600)
    await gateways[0].take(key, limit)
    before = counted_locally()
    valkey = backing.process("valkey")
    await valkey.stop()
    await valkey.start()
    await valkey.wait_ready()
    assert (await gateways[0].take(key, limit)).allowed
    assert counted_locally() == before


@pytest.mark.parametrize("answer", [[], [1], ["x", "y", "z", "u"], None, [0, b"x", 1, 1]])
async def test_answer_that_cannot_be_read_leaves_no_request_waiting(
    gateways: tuple[Buckets, Buckets], monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    """The requests are counted locally, and later requests are counted in Redis again. Proves R-LIMIT-6."""
    buckets = gateways[0]
    key, limit = secrets.token_hex(8), RateLimit(requests=3, seconds=3600)
    before = counted_locally()
    with monkeypatch.context() as patched:

        async def misread(commands: Sequence[object]) -> list[object]:
            return [answer] * len(commands)

        patched.setattr(buckets, "_execute", misread)
        async with asyncio.timeout(5):
            results = await asyncio.gather(*(buckets.take(key, limit) for _ in range(5)))
    assert sorted(each.allowed for each in results) == [False, False, True, True, True]
    assert counted_locally() == before + 5
    assert (await buckets.take(key, limit)).remaining == 2
    assert counted_locally() == before + 5


async def test_dropped_script_keeps_counting_in_redis(
    backing: DevStack, gateways: tuple[Buckets, Buckets]
) -> None:
    """Redis may forget the script at any time; the request is not counted locally. Proves R-LIMIT-6."""
    key, limit = secrets.token_hex(8), RateLimit(requests=3, seconds=3600)
    before = counted_locally()
    client = redis.connect(backing.redis_url)
    results = []
    for _ in range(3):
        results.append((await gateways[0].take(key, limit)).remaining)
        await client.script_flush()
    await client.aclose()
    assert results == [2, 1, 0]
    assert counted_locally() == before


async def test_stopped_sender_leaves_no_request_waiting(
    gateways: tuple[Buckets, Buckets], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requests of the batch in progress, and the requests behind it, are counted locally. Proves R-LIMIT-6."""
    buckets = gateways[0]
    limit = RateLimit(requests=3, seconds=3600)
    sending = asyncio.Event()

    async def hang(*_: Sequence[object]) -> list[object]:
        sending.set()
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(buckets, "_execute", hang)
    first = asyncio.create_task(buckets.take(secrets.token_hex(8), limit))
    await sending.wait()
    second = asyncio.create_task(buckets.take(secrets.token_hex(8), limit))
    await asyncio.sleep(0)
    await buckets._tasks.stop()
    async with asyncio.timeout(5):
        assert (await first).allowed
        assert (await second).allowed


@pytest.mark.parametrize("connected", [True, False])
async def test_pause_of_the_gateway_keeps_counting_in_redis(
    gateways: tuple[Buckets, Buckets], monkeypatch: pytest.MonkeyPatch, connected: bool
) -> None:
    """An answer that arrived during a pause longer than the time limit is read. Proves R-LIMIT-6."""
    buckets, connection = gateways[0], gateways[0]._connection
    key, limit = secrets.token_hex(8), RateLimit(requests=3, seconds=3600)
    if connected:
        assert (await buckets.take(key, limit)).remaining == 2
    before = counted_locally()
    monkeypatch.setattr(module, "REDIS_TIMEOUT", 0.8)
    read = connection.read_response

    async def read_late() -> object:
        monkeypatch.setattr(connection, "read_response", read)
        time.sleep(1.0)  # noqa: ASYNC251  # a pause of the whole process
        return await read()

    monkeypatch.setattr(connection, "read_response", read_late)
    assert (await buckets.take(key, limit)).remaining == (1 if connected else 2)
    assert connection.read_response == read
    assert counted_locally() == before


@pytest.mark.parametrize("outage", ["kill", "pause"])
async def test_gateway_limits_by_itself_without_redis(
    backing: DevStack,
    gateways: tuple[Buckets, Buckets],
    outage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While Redis is not reachable, only the first request waits, for a short time. Proves R-LIMIT-6."""
    key, limit = secrets.token_hex(8), RateLimit(requests=3, seconds=3600)
    await gateways[0].take(key, limit)
    valkey = backing.process("valkey")
    before = counted_locally()
    monkeypatch.setattr(module, "REDIS_TIMEOUT", 1.0)
    if outage == "kill":
        valkey.restart = False
        valkey.kill()
    else:
        valkey.pause()
    loop = asyncio.get_running_loop()
    began = loop.time()
    results = [await gateways[0].take(key, limit) for _ in range(5)]
    assert loop.time() - began < 4
    monkeypatch.setattr(module, "REDIS_TIMEOUT", 5.0)
    assert [each.allowed for each in results] == [True, True, True, False, False]
    assert counted_locally() == before + 5
    if outage == "kill":
        valkey.restart = True
        await valkey.start()
    else:
        valkey.resume()
    await valkey.wait_ready()
    while gateways[0]._probing is not None:
        await asyncio.wait({gateways[0]._probing})
    assert counted_locally() == before + 5
    await gateways[0].take(key, limit)
    assert counted_locally() == before + 5


async def test_gateway_limits_by_itself_while_redis_refuses_writes(
    backing: DevStack, gateways: tuple[Buckets, Buckets]
) -> None:
    """Redis answers, but only the first request waits for it, and the outage is logged once. Proves R-LIMIT-6."""
    key, limit = secrets.token_hex(8), RateLimit(requests=30, seconds=3600)
    client = redis.connect(backing.redis_url)
    await gateways[0].take(key, limit)
    before = counted_locally()
    await client.config_set("min-replicas-to-write", 1)
    try:
        with capture_logs() as lines:
            for _ in range(20):
                assert (await gateways[0].take(key, limit)).allowed
                await asyncio.sleep(0)
        assert [line["log_level"] for line in lines] == ["warning"]
        assert counted_locally() == before + 20
    finally:
        await client.config_set("min-replicas-to-write", 0)
        await client.aclose()
    while gateways[0]._probing is not None:
        await asyncio.wait({gateways[0]._probing})
    assert (await gateways[0].take(key, limit)).remaining == 28
    assert counted_locally() == before + 20
