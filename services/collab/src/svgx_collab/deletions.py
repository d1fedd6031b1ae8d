"""The deletions of held canvases: a deleted canvas is released at once, and not when it is idle."""

from nats.aio.subscription import Subscription

from svgx_collab.rooms import Rooms
from svgx_common.contract.state import CANVAS_ACCESS_CHANGED
from svgx_common.messaging.bus import Bus


class Deletions:
    """Listens to the announcements that the roles on a canvas have changed. A deletion is such a change.

    A lost announcement costs memory only: the canvas is left when it is idle.
    """

    def __init__(self, bus: Bus, rooms: Rooms) -> None:
        self._bus = bus
        self._rooms = rooms
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Start to listen."""
        self._subscription = await self._bus.listen(CANVAS_ACCESS_CHANGED.pattern, self._check)

    async def stop(self) -> None:
        """Stop listening."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def _check(self, subject: str, _: bytes) -> None:
        await self._rooms.release_deleted(subject.split(".")[2])
