"""The gateways of a stack, and ways to replace them."""

import asyncio

from svgx_devstack import DevStack
from tests.e2e.cluster.balancer import Balancer


class GatewayGroup:
    """The gateways of a stack. New gateways are added to the attached balancers."""

    def __init__(self, stack: DevStack) -> None:
        self._stack = stack
        self._names = ["gateway"]
        self._balancers: list[Balancer] = []

    async def attach_balancers(self, *balancers: Balancer) -> None:
        """Put balancers in front of the gateways. The new balancers replace the attached ones."""
        self._balancers = list(balancers)
        for name in self._names:
            await self._add_to_balancers(name)

    async def add_gateway(self) -> None:
        """Start one more gateway, and wait until a probe of each attached balancer has found it ready."""
        name = await self._stack.add_replica("gateway")
        self._names.append(name)
        await self._add_to_balancers(name)

    async def replace_one_by_one(self) -> None:
        """For each old gateway, start a new one, then stop the old one, as Kubernetes does with `maxSurge: 1`."""
        for old_name in tuple(self._names):
            await self.add_gateway()
            await self._stop(old_name)

    async def replace_all_at_once(self) -> None:
        """Start one new gateway for each old one, then stop all old ones, as Kubernetes does with `maxSurge: 100%`."""
        old_names = tuple(self._names)
        for _ in old_names:
            await self.add_gateway()
        await asyncio.gather(*(self._stop(old_name) for old_name in old_names))

    async def _add_to_balancers(self, name: str) -> None:
        port = self._stack.port(name)
        await asyncio.gather(*(balancer.add(port) for balancer in self._balancers))

    async def _stop(self, name: str) -> None:
        self._names.remove(name)
        assert await self._stack.process(name).stop() == 0
