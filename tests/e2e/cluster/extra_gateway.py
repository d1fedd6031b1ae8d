"""One more gateway of a stack, with settings of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from svgx_devstack import DevStack


@dataclass(frozen=True)
class ExtraGateway:
    """The stack, the name and the address of an added gateway."""

    stack: DevStack
    name: str

    @property
    def url(self) -> str:
        """The address for HTTP requests."""
        return self.stack.service_url(self.name)

    @property
    def websocket_url(self) -> str:
        """The address for WebSockets."""
        return self.url.replace("http", "ws", 1)


@asynccontextmanager
async def extra_gateway(
    stack: DevStack, settings: Mapping[str, str]
) -> AsyncIterator[ExtraGateway]:
    """Start a gateway with the stack's settings, and stop it at the end of the block.

    `settings` replace settings of the stack with the same name.
    """
    name = await stack.add_replica("gateway", settings=settings)
    try:
        yield ExtraGateway(stack, name)
    finally:
        await stack.remove_replica(name)
