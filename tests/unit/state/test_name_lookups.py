"""Lookups of names: their number, and threads that no caller waits for any more."""

import asyncio
import contextlib
import gc
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from svgx_state.events.name_lookups import NameLookups

LIMIT = 2

HANGING_LOOKUP = """
import asyncio, contextlib, socket, threading
from svgx_state.events.name_lookups import NameLookups

async def main():
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(*_, **__):
        loop.call_soon_threadsafe(begun.set)
        threading.Event().wait(300)

    socket.getaddrinfo = hang
    lookup = asyncio.create_task(NameLookups().resolve("a.example"))
    await begun.wait()
    lookup.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await lookup

asyncio.run(main())
"""
"""A program that ends while a lookup of the operating system waits for its answer."""


class Resolver:
    """The operating system's lookup. Each lookup ends when the test releases its name, and then fails."""

    def __init__(self) -> None:
        self.released: dict[str, threading.Event] = {}
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, *_: Any, **__: Any) -> Any:
        self.asked.append(host)
        self.released.setdefault(host, threading.Event()).wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def release(self, host: str) -> None:
        self.released.setdefault(host, threading.Event()).set()


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    found = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", found.getaddrinfo)
    yield found
    for host in found.released:
        found.release(host)


@pytest.fixture
def lookups(resolver: Resolver) -> NameLookups:
    return NameLookups(LIMIT)


async def give_up(lookups: NameLookups, host: str) -> None:
    """Wait for a lookup for a short time only."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await lookups.resolve(host)


async def test_process_ends_while_a_lookup_has_no_answer() -> None:
    """Proves R-SHIP-1: a name server that does not answer does not keep a stopping process."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HANGING_LOOKUP)
    try:
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


async def test_callers_share_the_unfinished_lookup_of_a_name(
    lookups: NameLookups, resolver: Resolver
) -> None:
    """Proves R-EVENT-8: an abandoned lookup is used by later callers, and a further one begins only after its end."""
    await give_up(lookups, "a.example")
    waiting = [asyncio.create_task(lookups.resolve("a.example")) for _ in range(5)]
    await asyncio.sleep(0)
    resolver.release("a.example")
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in results} == {socket.gaierror}
    assert resolver.asked == ["a.example"]
    with pytest.raises(socket.gaierror):
        await lookups.resolve("a.example")
    assert resolver.asked == ["a.example"] * 2


async def test_abandoned_lookup_counts_until_its_thread_has_ended(
    lookups: NameLookups, resolver: Resolver
) -> None:
    """Proves R-EVENT-8: beyond the limit a lookup fails at once, until a thread is free."""
    for host in ("a.example", "b.example"):
        await give_up(lookups, host)
    with pytest.raises(OSError, match="2 lookups of names are not finished"):
        await lookups.resolve("c.example")
    waiting = asyncio.create_task(lookups.resolve("a.example"))
    await asyncio.sleep(0)
    resolver.release("a.example")
    with pytest.raises(socket.gaierror):
        await waiting
    resolver.release("c.example")
    with pytest.raises(socket.gaierror):
        await lookups.resolve("c.example")
    assert resolver.asked == ["a.example", "b.example", "c.example"]


async def test_failure_of_an_abandoned_lookup_is_not_reported_as_unhandled(
    lookups: NameLookups, resolver: Resolver
) -> None:
    """Proves R-EVENT-8: a lookup that fails after its callers have given up is no error of the service."""
    reported: list[object] = []
    loop = asyncio.get_running_loop()
    gc.collect()  # reports the failures of earlier tests
    loop.set_exception_handler(lambda _, context: reported.append(context.get("exception")))
    await give_up(lookups, "a.example")
    ended = asyncio.Event()
    lookups._unfinished["a.example"].add_done_callback(lambda _: ended.set())
    resolver.release("a.example")
    async with asyncio.timeout(10):
        await ended.wait()
    gc.collect()
    loop.set_exception_handler(None)
    assert [each for each in reported if isinstance(each, socket.gaierror)] == []
