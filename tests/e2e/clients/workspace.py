"""A running stack with an owner account, and the Yjs clients that are connected to its canvases."""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from svgx_devstack import DevStack
from tests.e2e.clients.api import Api, ApiSession, User, open_api
from tests.e2e.clients.yjs_driver import YjsClient, YjsDriver

_numbers = itertools.count(1)
"""Numbers in the names of clients and accounts, which must be unique in the Node process and on the shared stack."""


class Workspace:
    """Canvases, accounts and Yjs clients on a development stack, or on another installation.

    `owner` is the session of the editor account that owns the canvases. It is the default `session` of clients.
    """

    def __init__(
        self,
        api: Api,
        driver: YjsDriver,
        *,
        admin: ApiSession,
        owner: ApiSession,
        stack: DevStack | None = None,
    ) -> None:
        self.api = api
        self.driver = driver
        self.admin = admin
        self.owner = owner
        self._stack = stack
        self._clients: list[YjsClient] = []

    @property
    def stack(self) -> DevStack:
        """The development stack of this workspace. A test with another installation must not use it."""
        assert self._stack is not None
        return self._stack

    async def create_canvas(self, name: str = "Drawing") -> str:
        """Create an empty canvas of the owner, and return its id."""
        return await self.owner.create_canvas(name)

    async def create_user(self, role: str = "editor") -> User:
        """Create an account with this role."""
        return await self.admin.create_user(f"{role}-{next(_numbers)}", role)

    async def connect(
        self,
        canvas_id: str,
        *,
        session: ApiSession | None = None,
        params: Mapping[str, str] | None = None,
        protocols: Sequence[str] = (),
        driver: YjsDriver | None = None,
        tab: bool = False,
        **options: object,
    ) -> YjsClient:
        """Create a Yjs client that connects to a canvas. Do not wait for the connection.

        The client's awareness state has the client's name as `name`. `params` are the query parameters, by default
        `saved=1` and the access token of `session`. The default of `session` is `owner`. `options` are further settings
        of the client (see `YjsDriver.connect`).
        """
        name = f"client-{next(_numbers)}"
        if params is None:
            params = {"token": await (session or self.owner).access_token(), "saved": "1"}
        chosen_driver = driver or self.driver
        client = await chosen_driver.connect(
            name,
            self.api.websocket_url,
            canvas_id,
            params=params,
            protocols=protocols,
            awareness={"name": name},
            tab=tab,
            options=options,
        )
        if chosen_driver is self.driver:
            self._clients.append(client)
        return client

    def adopt(self, client: YjsClient) -> None:
        """Add a client that `connect` did not create, so that `destroy_all` destroys it too."""
        self._clients.append(client)

    async def connect_many(self, canvas_id: str, count: int) -> list[YjsClient]:
        """Create several clients of the owner, and wait until all are synced."""
        clients = [await self.connect(canvas_id) for _ in range(count)]
        await self.driver.wait_synced(clients)
        return clients

    async def destroy(self, *clients: YjsClient) -> None:
        """Close the clients' connections with a close frame, and forget the clients."""
        await self.driver.destroy(clients)
        self._clients = [client for client in self._clients if client not in clients]

    async def destroy_all(self) -> None:
        """Destroy all clients of this workspace, except those that `connect` created with another `driver`."""
        await self.destroy(*self._clients)


@asynccontextmanager
async def open_workspace(
    stack: DevStack, driver: YjsDriver, *, url: str | None = None, websocket_base: str | None = None
) -> AsyncIterator[Workspace]:
    """Open a workspace on a running stack, with a new owner account.

    `url` and `websocket_base` replace the stack's address for HTTP requests and for WebSockets.
    """
    async with open_api(url or stack.url, websocket_base) as api:
        admin = api.session(stack.admin_username, stack.admin_password)
        owner = api.session_of(await admin.create_user(f"owner-{next(_numbers)}"))
        yield Workspace(api, driver, admin=admin, owner=owner, stack=stack)


@asynccontextmanager
async def open_workspace_at(
    url: str, driver: YjsDriver, *, admin_username: str, admin_password: str
) -> AsyncIterator[Workspace]:
    """Open a workspace on an installation that is not a development stack, with a new owner account."""
    async with open_api(url) as api:
        admin = api.session(admin_username, admin_password)
        owner = api.session_of(await admin.create_user(f"owner-{next(_numbers)}"))
        yield Workspace(api, driver, admin=admin, owner=owner)
