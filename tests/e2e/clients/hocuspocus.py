"""Hocuspocus clients (npm `@hocuspocus/provider`) on the canvases of a workspace."""

import itertools
from typing import Any

from svgx_common.contract.collab import HOCUSPOCUS_PATH
from tests.e2e.clients.api import ApiSession
from tests.e2e.clients.workspace import Workspace
from tests.e2e.clients.yjs_driver import TIMEOUT, YjsClient, YjsDriver

_numbers = itertools.count(1)


class HocuspocusClient(YjsClient):
    """A Hocuspocus provider of one document, in the Node process."""

    async def wait_scope(self, scope: str, *, timeout: float = TIMEOUT) -> None:
        """Wait until the server has given the client this scope: `readonly` or `read-write`."""
        await self._request("await_scope", scope=scope, timeout=timeout)

    async def wait_denied(self, count: int = 1, *, timeout: float = TIMEOUT) -> str:
        """Wait until the server has refused the client `count` times in total, and return the last reason."""
        return str(await self._request("await_denied", count=count, timeout=timeout))

    async def unsynced(self) -> int:
        """Return the provider's number of unsynced changes."""
        return int(await self._request("unsynced"))

    async def stateless(self) -> list[str]:
        """Return the payloads of all stateless messages that the client has received."""
        return list(await self._request("stateless"))

    async def send_stateless(self, payload: str) -> None:
        """Send a stateless message."""
        await self._request("send_stateless", payload=payload)


async def connect_hocuspocus(
    workspace: Workspace,
    canvas: str,
    *,
    session: ApiSession | None = None,
    socket: str | None = None,
    tokens: list[str] | None = None,
    query: str = "",
    **settings: Any,
) -> HocuspocusClient:
    """Create a Hocuspocus client of a canvas. Do not wait for its connection.

    Clients with equal `socket` share one WebSocket. `tokens` replaces the access token of `session`. The provider
    sends the tokens in this order, and repeats the last one. `settings` are further settings of `hocuspocus.mjs`.
    """
    name = f"hocuspocus-{next(_numbers)}"
    if tokens is None:
        tokens = [await (session or workspace.owner).access_token()]
    base = workspace.api.websocket_url.removesuffix("/runtime/events")
    await workspace.driver.connect(
        name,
        f"{base}{HOCUSPOCUS_PATH}{query}",
        canvas,
        awareness={"name": name},
        options={"hocuspocus": {"socket": socket or name, "tokens": tokens, **settings}},
    )
    return client_of(workspace.driver, name, workspace)


def client_of(driver: YjsDriver, name: str, workspace: Workspace) -> HocuspocusClient:
    """Return the client with this name. The workspace's `destroy_all` destroys the client too."""
    client = HocuspocusClient(driver, name)
    workspace.adopt(client)
    return client
