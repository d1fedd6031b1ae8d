"""Releases a held canvas as soon as it is deleted, instead of when it becomes idle."""

from nats.aio.subscription import Subscription

from svgx_collab.rooms import Rooms
from svgx_common.contract.state import CANVAS_ACCESS_CHANGED
from svgx_common.messaging.bus import Bus


class Deletions:
    """Listens to the announcements of changed canvas roles. A canvas's deletion is announced in the same way.

    A lost announcement costs only memory, because the canvas is then left when it becomes idle.
    """

    def __init__(self, bus: Bus, rooms: Rooms) -> None:
        self._bus = bus
        self._rooms = rooms
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribe to the announcements."""
        self._subscription = await self._bus.listen(
            CANVAS_ACCESS_CHANGED.pattern, self._release_if_deleted
        )

    async def stop(self) -> None:
        """End the subscription."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def _release_if_deleted(self, subject: str, _: bytes) -> None:
        await self._rooms.release_deleted(subject.split(".")[2])
