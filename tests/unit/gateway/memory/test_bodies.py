"""The memory of request bodies, and the rate at which they have to arrive."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from svgx_common.contract.errors import Overloaded, RequestTimeout, SvgxError, TooLarge
from svgx_gateway.memory import bodies as module
from svgx_gateway.memory.bodies import Bodies, BodyLimits

KB = 1024
LIMITS = BodyLimits(account_bytes=256 * KB, bytes=512 * KB)


async def stream(*chunks: bytes, ends: bool = True) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if not ends:
        await asyncio.Event().wait()


async def test_body_is_read_and_its_memory_released() -> None:
    """A body is read as it was sent; its memory is free after the request. Proves R-BOUND-8."""
    bodies = Bodies(LIMITS)
    with bodies.keep("ann") as body:
        assert await body.read(stream(b"a" * 100 * KB, b"b" * 28 * KB), 200 * KB) == (
            b"a" * 100 * KB + b"b" * 28 * KB
        )
        assert bodies._used == 3 * 64 * KB
    assert (bodies._used, bodies._by_account) == (0, {})


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [("ann", "ann", True), ("ann", "bob", False)],
)
async def test_body_without_memory_waits_and_is_refused(
    monkeypatch: pytest.MonkeyPatch, first: str, second: str, *, waits: bool
) -> None:
    """A second body of an account waits for memory, and then gets 503. Bodies of other accounts do not wait.

    Proves R-BOUND-8.
    """
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)
    bodies = Bodies(LIMITS)
    with bodies.keep(first) as one, bodies.keep(second) as two:
        await one.read(stream(b"a" * 190 * KB), 500 * KB)
        if not waits:
            assert len(await two.read(stream(b"a" * 190 * KB), 500 * KB)) == 190 * KB
            return
        with pytest.raises(Overloaded) as refused:
            await two.read(stream(b"a" * 190 * KB), 500 * KB)
        assert (refused.value.field, refused.value.limit) == ("body", 256 * KB)
        assert refused.value.retry_after == 1.0
    assert bodies._used == 0


async def test_refusal_names_the_memory_of_the_gateway_when_it_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error for an account below its own limit states the limit of all bodies. Proves R-BOUND-8."""
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)
    bodies = Bodies(BodyLimits(account_bytes=512 * KB, bytes=256 * KB))
    with bodies.keep("ann") as one, bodies.keep("bob") as two:
        await one.read(stream(b"a" * 190 * KB), 500 * KB)
        with pytest.raises(Overloaded) as refused:
            await two.read(stream(b"a" * 190 * KB), 500 * KB)
    assert refused.value.limit == 256 * KB
    assert "all requests together" in refused.value.detail


async def test_waiting_body_is_read_when_memory_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that waits is read when the request of an earlier body has ended. Proves R-BOUND-8."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)
    bodies = Bodies(LIMITS)
    with bodies.keep("ann") as two:
        with bodies.keep("ann") as one:
            await one.read(stream(b"a" * 190 * KB), 500 * KB)
            reading = asyncio.create_task(two.read(stream(b"b" * 190 * KB), 500 * KB))
            await asyncio.sleep(0)
            assert not reading.done()
        assert await reading == b"b" * 190 * KB


async def test_oldest_body_never_waits_for_memory() -> None:
    """The oldest body may exceed the memory, so that unfinished bodies never wait for each other. Proves R-BOUND-8."""
    bodies = Bodies(LIMITS)
    with bodies.keep("ann") as body:
        assert len(await body.read(stream(b"a" * 600 * KB), 700 * KB)) == 600 * KB


@pytest.mark.parametrize("chunks", [(), (b"a" * 500,), (b"a" * 100 * KB, b"b")])
async def test_slow_body_gets_408(
    monkeypatch: pytest.MonkeyPatch, chunks: tuple[bytes, ...]
) -> None:
    """A body that stops arriving gets 408. The `limit` is the minimum rate as a whole number. Proves R-BOUND-8."""
    monkeypatch.setattr(module, "RATE_SECONDS", 0.01)
    limits = BodyLimits(min_rate=8192.0)
    with Bodies(limits).keep("ann") as body, pytest.raises(RequestTimeout) as refused:
        await body.read(stream(*chunks, ends=False), 500 * KB)
    assert (refused.value.field, str(refused.value.limit)) == ("body", "8192")


@pytest.mark.parametrize(
    ("seconds", "limit", "error"), [(60.0, 10, TooLarge), (0.0, 500 * KB, RequestTimeout)]
)
async def test_body_beyond_its_size_or_time_is_refused(
    monkeypatch: pytest.MonkeyPatch, seconds: float, limit: int, error: type[SvgxError]
) -> None:
    """A body that is too large is refused at once. A body that takes too long is refused with 408. Proves R-BOUND-8."""
    monkeypatch.setattr(module, "BODY_SECONDS", seconds)
    limits = BodyLimits(min_rate=0.0)
    with Bodies(limits).keep("ann") as body, pytest.raises(error):
        await body.read(stream(b"a" * 100, ends=False), limit)


async def test_without_a_rate_only_the_time_of_a_body_is_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a minimum rate of 0, only the whole body has a time limit. Its first bytes have none. Proves R-BOUND-8."""
    monkeypatch.setattr(module, "RATE_SECONDS", 0.0)

    async def late() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.05)
        yield b"a"

    bodies = Bodies(BodyLimits(min_rate=0.0))
    with bodies.keep("ann") as body:
        assert await body.read(late(), 10) == b"a"
    monkeypatch.setattr(module, "BODY_SECONDS", 0.01)
    with bodies.keep("ann") as body, pytest.raises(RequestTimeout) as refused:
        await body.read(stream(ends=False), 10)
    assert refused.value.limit == 0.01
    assert "did not arrive within" in refused.value.detail
