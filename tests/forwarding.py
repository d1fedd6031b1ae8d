"""Copies bytes between two connections, for the proxies of tests."""

import asyncio
import contextlib

_CHUNK_BYTES = 64 * 1024


async def copy_both(
    *directions: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    may_carry: asyncio.Event | None = None,
) -> None:
    """Copy in both directions until either side closes. While `may_carry` is not set, received bytes wait."""
    copies = {asyncio.create_task(_copy(*each, may_carry)) for each in directions}
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


async def _copy(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, may_carry: asyncio.Event | None
) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(_CHUNK_BYTES):
            if may_carry is not None:
                await may_carry.wait()
            target.write(chunk)
            await target.drain()
