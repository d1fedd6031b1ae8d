"""People who draw without a pause while something breaks, and the proof that nothing was lost."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from tests.e2e.clients.canvas_session import Studio
from tests.e2e.clients.yjs_driver import Digest, YjsClient

RATE = 5.0
"""Edits a second that each of them makes."""

PATIENCE = 60.0
"""Seconds until all is well again after something came back."""

_marks = itertools.count(1)


class Painters:
    """Clients on one canvas that draw at random."""

    def __init__(self, studio: Studio, canvas_id: str, clients: list[YjsClient]) -> None:
        self.canvas_id = canvas_id
        self.clients = clients
        self._studio = studio
        self._drawn = 0

    @classmethod
    async def gather(cls, studio: Studio, count: int, *, seed: int, rate: float = RATE) -> Self:
        """They join a new canvas and begin to draw, `rate` edits a second each."""
        canvas_id = await studio.canvas(f"Drill {seed}")
        clients = await studio.crowd(canvas_id, count)
        await studio.driver.draw(clients, seed=seed, rate=rate)
        painters = cls(studio, canvas_id, clients)
        await painters.go_on()
        await painters.meet()
        return painters

    async def go_on(self, edits: int = 50) -> None:
        """Wait until they have made so many edits more. They do that connected or not."""
        self._drawn = await self._studio.driver.drawn(self.clients, self._drawn + edits)

    async def meet(self) -> None:
        """Wait until something that one draws now has reached all others."""
        mark = f"mark {next(_marks)}"
        # Not an element: somebody might delete it before everybody has seen it.
        await self.clients[0].edit({"op": "canvas", "attrs": {"desc": mark}})
        await self._studio.driver.have_attribute(self.clients, "desc", mark, timeout=PATIENCE)

    async def finish(self) -> Digest:
        """They stop. All is saved, all have the same, and PostgreSQL has the same; returns what that is."""
        driver = self._studio.driver
        await driver.rest(self.clients)
        await driver.saved(self.clients, timeout=PATIENCE)
        digest = await driver.converged(self.clients, timeout=PATIENCE)
        exported = await self._studio.owner.export(self.canvas_id, "yjs")
        assert await driver.digest_of(exported) == digest
        late = await self._studio.join(self.canvas_id)
        await driver.converged([late], to=digest)
        return digest

    async def connections(self) -> set[int]:
        """How many connections each has had, all in one set."""
        return {(await client.status()).connections for client in self.clients}


@asynccontextmanager
async def painting(studio: Studio, count: int = 10, *, seed: int) -> AsyncIterator[Painters]:
    """Painters who leave at the end."""
    try:
        yield await Painters.gather(studio, count, seed=seed)
    finally:
        await studio.empty()
