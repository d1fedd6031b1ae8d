"""A flood of log-ins at a replica with many password workers."""

import asyncio

import pytest

from svgx_common.contract.errors import Overloaded, TooManyRequests
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.auth.conftest import replica
from tests.integration.auth.test_flood import ADDRESSES, TRIES, HeldPasswords, flood


@pytest.mark.parametrize(("connections", "slots"), [(60, 45), (10, 8)])
async def test_flood_is_refused_at_once_with_many_workers(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch, connections: int, slots: int
) -> None:
    """Proves R-AUTH-40: with 64 workers, the queue refuses all log-ins that do not fit into it."""
    held = HeldPasswords(monkeypatch)
    async with replica(backing, workers=64, connections=connections):
        gateway = await Bus.connect(backing.nats_url("gateway"), "gateway", "flood")
        try:
            waiting = set(await flood(gateway))
            refused: set[asyncio.Task[object]] = set()
            async with asyncio.timeout(5):
                while len(refused) < ADDRESSES * TRIES - slots - 32:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    refused |= done
            assert len(waiting) == slots + 32
            for task in refused:
                assert isinstance(task.exception(), Overloaded | TooManyRequests)
            held.go_on.set()
            await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            await gateway.close()
