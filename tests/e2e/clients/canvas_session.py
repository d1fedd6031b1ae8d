"""One stack with people on it: who draws where, with which token."""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from svgx_devstack import DevStack
from tests.e2e.clients.api import Api, Session, User, reach
from tests.e2e.clients.yjs_driver import YjsClient, YjsDriver

_numbers = itertools.count(1)


class Studio:
    """Brings clients onto canvases of a stack and sees them out again.

    `owner` creates the canvases; its token is the default one. Names are unique in the Node process, whatever else
    runs in it.
    """

    def __init__(self, stack: DevStack, api: Api, driver: YjsDriver, owner: Session) -> None:
        self.stack = stack
        self.api = api
        self.driver = driver
        self.admin = api.session(stack.admin_username, stack.admin_password)
        self.owner = owner
        self._inside: list[YjsClient] = []

    async def canvas(self, name: str = "Drawing") -> str:
        """A new, empty canvas of the owner; returns its id."""
        return await self.owner.create_canvas(name)

    async def user(self, role: str = "editor") -> User:
        """A new account."""
        return await self.admin.create_user(f"{role}-{next(_numbers)}", role)

    async def join(
        self,
        canvas_id: str,
        *,
        by: Session | None = None,
        params: Mapping[str, str] | None = None,
        protocols: Sequence[str] = (),
        driver: YjsDriver | None = None,
        tab: bool = False,
    ) -> YjsClient:
        """A new client on a canvas; does not wait. Its awareness has its own name under `name`.

        `params` replaces the query: without it the token of `by` (else of the owner), and `saved=1`.
        """
        name = f"client-{next(_numbers)}"
        if params is None:
            params = {"token": await (by or self.owner).token(), "saved": "1"}
        where = driver or self.driver
        client = await where.connect(
            name,
            self.api.live_url,
            canvas_id,
            params=params,
            protocols=protocols,
            awareness={"name": name},
            tab=tab,
        )
        if where is self.driver:
            self._inside.append(client)
        return client

    async def crowd(self, canvas_id: str, count: int) -> list[YjsClient]:
        """Several of the owner's clients, all synced."""
        clients = [await self.join(canvas_id) for _ in range(count)]
        await self.driver.synced(clients)
        return clients

    async def leave(self, *clients: YjsClient) -> None:
        """Close connections in order."""
        await self.driver.destroy(clients)
        self._inside = [client for client in self._inside if client not in clients]

    async def empty(self) -> None:
        """Everybody leaves."""
        await self.leave(*self._inside)


@asynccontextmanager
async def opened(
    stack: DevStack, driver: YjsDriver, *, url: str | None = None, live: str | None = None
) -> AsyncIterator[Studio]:
    """A studio on a running stack, with an owner who is an editor.

    `url` and `live` are other ways to its gateways, for pages and for sockets.
    """
    async with reach(url or stack.url, live) as api:
        admin = api.session(stack.admin_username, stack.admin_password)
        user = await admin.create_user(f"owner-{next(_numbers)}")
        yield Studio(stack, api, driver, api.of(user))
