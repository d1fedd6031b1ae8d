"""Gateways that are replaced by new ones."""

import asyncio

from svgx_devstack import DevStack
from tests.e2e.cluster.balancer import Balancer


class Fleet:
    """The gateways of a stack, and the balancers in front of them, if there are any."""

    def __init__(self, stack: DevStack) -> None:
        self._stack = stack
        self._names = ["gateway"]
        self._balancers: list[Balancer] = []

    async def stand_behind(self, *balancers: Balancer) -> None:
        """From now on these send people here."""
        self._balancers = list(balancers)
        for name in self._names:
            await self._announce(name)

    async def grow(self) -> None:
        """One gateway more; returns when it is ready, and seen to be."""
        name = await self._stack.add_replica("gateway")
        self._names.append(name)
        await self._announce(name)

    async def one_after_the_other(self) -> None:
        """As Kubernetes rolls with `maxSurge: 1`: a new one, then an old one is stopped, again and again."""
        for old in tuple(self._names):
            await self.grow()
            await self._stop(old)

    async def all_new_ones_first(self) -> None:
        """As Kubernetes rolls with `maxSurge: 100%`."""
        olds = tuple(self._names)
        for _ in olds:
            await self.grow()
        await asyncio.gather(*(self._stop(old) for old in olds))

    async def _announce(self, name: str) -> None:
        port = self._stack.port(name)
        await asyncio.gather(*(balancer.add(port) for balancer in self._balancers))

    async def _stop(self, name: str) -> None:
        self._names.remove(name)
        assert await self._stack.process(name).stop() == 0
