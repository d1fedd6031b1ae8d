"""Outages of PostgreSQL, during which the service keeps running."""

import asyncio

import pytest

from svgx_common import postgres
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.state import Committed, Entry
from svgx_devstack import DevStack
from svgx_state.partitions import add_partitions, add_partitions_at_start
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.service import Client, replica
from tests.polling import pause


async def test_calls_without_postgresql_are_unavailable(backing: DevStack, client: Client) -> None:
    """Without PostgreSQL, calls fail with `unavailable`; the service recovers by itself. Proves R-STATE-18."""
    async with replica(backing) as health, asyncio.timeout(100):
        canvas_id = await client.create()
        pen = Pen(canvas_id, "holder")
        await client.append(pen.draw("before"))
        server = backing.process("postgres")
        server.restart = False
        try:
            server.kill()
            await server.wait_dead()
            entry = pen.draw("during")
            for call in (
                client.append(entry),
                client.load(canvas_id),
                client.create(),
                client.access(canvas_id),
            ):
                with pytest.raises(Unavailable, match="database is not reachable"):
                    await call
            assert not (await health.report()).dependencies["postgresql"].ok
        finally:
            server.restart = True
            await server.start()
            await server.wait_ready()
        assert await client.append(entry) == [Committed(canvas_id, 2)]
        assert elements((await client.load(canvas_id)).updates) == {"before": "x", "during": "x"}
        # `report` could return the cached failure.
        assert (await health._report()).dependencies["postgresql"].ok


async def test_service_starts_although_postgresql_fails_after_the_migrations(
    backing: DevStack,
) -> None:
    """`add_partitions_at_start` does not fail, so the service starts. A later call makes the partitions.

    Proves R-STATE-18.
    """
    async with postgres.connect(
        backing.postgres_url, schema="state", package="svgx_state", pool_size=1
    ) as database:
        server = backing.process("postgres")
        server.restart = False
        try:
            server.kill()
            await server.wait_dead()
            await add_partitions_at_start(database, 1)
        finally:
            server.restart = True
            await server.start()
            await server.wait_ready()
        await add_partitions(database, 1)


async def test_answered_commit_survives_a_kill_of_postgresql(
    backing: DevStack, client: Client
) -> None:
    """Holders repeat unanswered appends while PostgreSQL is killed; no entry is missing or stored twice.

    Proves R-STATE-1, R-STATE-3.
    """
    async with replica(backing), replica(backing), asyncio.timeout(100):
        ids = [await client.create(str(number)) for number in range(4)]
        holders = [Holder(client, ids, f"writer{number}") for number in range(3)]
        server = backing.process("postgres")
        try:
            async with asyncio.TaskGroup() as group:
                for holder in holders:
                    group.create_task(holder.hold())
                for _ in range(2):
                    await asyncio.gather(*(holder.answered.wait() for holder in holders))
                    server.kill()
                    await server.wait_dead()
                    for holder in holders:
                        holder.answered.clear()
                    await server.wait_ready()
                await asyncio.gather(*(holder.answered.wait() for holder in holders))
                for holder in holders:
                    holder.holding = False
        finally:
            await server.wait_ready()
        assert all(holder.refusals for holder in holders)
        for canvas_id in ids:
            revisions = [revision for holder in holders for revision in holder.revisions[canvas_id]]
            assert sorted(revisions) == list(range(1, len(revisions) + 1))
            content = await client.load(canvas_id)
            assert content.revision == len(revisions) == len(elements(content.updates))


class Holder:
    """A holder that commits edits of some canvases until `holding` is False. Like collab, it repeats failed appends."""

    def __init__(self, client: Client, ids: list[str], writer: str) -> None:
        self.holding = True
        self.answered = asyncio.Event()
        self.refusals = 0
        self.revisions: dict[str, list[int]] = {canvas_id: [] for canvas_id in ids}
        self._client = client
        self._writer = writer

    async def hold(self) -> None:
        pens = [Pen(canvas_id, self._writer) for canvas_id in self.revisions]
        number = 0
        while self.holding:
            number += 1
            for committed in await self._commit(
                [pen.draw(f"{self._writer} {number}") for pen in pens]
            ):
                self.revisions[committed.canvas_id].append(committed.revision)
            self.answered.set()

    async def _commit(self, group: list[Entry]) -> list[Committed]:
        while True:
            try:
                return await self._client.append(*group)
            except Unavailable:
                self.refusals += 1
                await pause()
