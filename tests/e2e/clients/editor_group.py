"""Clients that edit one canvas while a test causes a failure, and the check that no edit was lost."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from tests.e2e.clients.workspace import Workspace
from tests.e2e.clients.yjs_driver import Digest, YjsClient

EDITS_PER_SECOND = 5.0
"""Edits per second of each client."""

RECOVERY_TIMEOUT = 60.0
"""Time limit, in seconds, of each wait for clients to recover: to reconnect, become equal or have their edits saved."""

_marks = itertools.count(1)


class EditorGroup:
    """Clients on one canvas that make random edits."""

    def __init__(self, workspace: Workspace, canvas_id: str, clients: list[YjsClient]) -> None:
        self.canvas_id = canvas_id
        self.clients = clients
        self._workspace = workspace
        self._edits = 0

    @classmethod
    async def start(
        cls, workspace: Workspace, count: int, *, seed: int, rate: float = EDITS_PER_SECOND
    ) -> Self:
        """Connect clients to a new canvas, and start random edits, `rate` per second and client."""
        canvas_id = await workspace.create_canvas(f"Drill {seed}")
        clients = await workspace.connect_many(canvas_id, count)
        await workspace.driver.start_random_edits(clients, seed=seed, rate=rate)
        group = cls(workspace, canvas_id, clients)
        await group.wait_for_edits()
        await group.wait_for_broadcast()
        return group

    async def wait_for_edits(self, edits: int = 50) -> None:
        """Wait until the clients have made this many edits since the previous call ended.

        They edit without a connection too. Edits between the two calls count, so the wait may end at once.
        """
        self._edits = await self._workspace.driver.wait_for_edits(self.clients, self._edits + edits)

    async def wait_for_broadcast(self) -> None:
        """Make an edit with the first client, and wait until the edit has reached all other clients."""
        mark = f"mark {next(_marks)}"
        # The edit changes an attribute of the canvas, because another client could delete an element too early.
        await self.clients[0].edit({"op": "canvas", "attrs": {"desc": mark}})
        await self._workspace.driver.wait_for_attribute(
            self.clients, "desc", mark, timeout=RECOVERY_TIMEOUT
        )

    async def stop_and_verify(self) -> Digest:
        """Stop the edits, check that none was lost, and return the digest of the document.

        All edits must be reported as saved. The documents of all clients, the export from PostgreSQL and the document
        of a client that connects now must be equal.
        """
        driver = self._workspace.driver
        await driver.stop_random_edits(self.clients)
        await driver.wait_saved(self.clients, timeout=RECOVERY_TIMEOUT)
        digest = await driver.wait_converged(self.clients, timeout=RECOVERY_TIMEOUT)
        exported = await self._workspace.owner.export(self.canvas_id, "yjs")
        assert await driver.digest_of(exported) == digest
        newcomer = await self._workspace.connect(self.canvas_id)
        await driver.wait_converged([newcomer], to=digest)
        return digest

    async def connection_counts(self) -> set[int]:
        """Return the different numbers of connections that the clients have had: {1} if no client has reconnected."""
        return {(await client.status()).connections for client in self.clients}


@asynccontextmanager
async def editing(
    workspace: Workspace, count: int = 10, *, seed: int
) -> AsyncIterator[EditorGroup]:
    """Start a group of editors, and destroy all clients of the workspace at the end."""
    try:
        yield await EditorGroup.start(workspace, count, seed=seed)
    finally:
        await workspace.destroy_all()
