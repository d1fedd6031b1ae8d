"""A state service with its own database.

Tests kill the service or PostgreSQL at random points of compactions and of drops of old journal partitions.
"""

import asyncio
import os
import random
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from svgx_common import postgres
from svgx_common.contract import state
from svgx_common.contract.errors import SvgxError
from svgx_common.contract.state import CommittedBatch, Entry, EntryBatch
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.wire import decode, encode
from svgx_devstack import DevStack
from svgx_devstack.ports import choose
from svgx_state.journal.checksums import is_sound
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.fresh_tables import FreshTables
from tests.polling import pause

CANVASES = 12
COMPACT_AFTER = 10
RETENTION_DAYS = 1

_COUNT_PARTITIONS = """
    SELECT count(*) AS tables, count(i.inhrelid) AS attached
    FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND NOT i.inhdetachpending
    WHERE c.relnamespace = 'state'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^journal_[0-9]{8}$'
"""
_COUNT_SNAPSHOTS = "SELECT count(*) FROM snapshot"
_COUNT_OLD_PARTITIONS = """
    SELECT count(*) FROM pg_partition_tree('journal') WHERE isleaf
    AND to_date(substr(relid::text, 9), 'YYYYMMDD') < (now() AT TIME ZONE 'UTC')::date - $1::integer
"""


@dataclass
class DrawnCanvas:
    """A canvas and its entries. All of them are committed, except possibly the last one."""

    id: str
    pen: Pen
    entries: list[Entry] = field(default_factory=list)
    last_old_revision: int = 0
    """The last revision of an entry that is older than the retention."""

    def content(self, revision: int) -> dict[str, str]:
        """Return the elements that the canvas had at a revision."""
        return elements(entry.update for entry in self.entries[:revision])


class KillableState:
    """A process of the state service, its database, and the canvases in this database."""

    def __init__(self, stack: DevStack, database: str, seed: int) -> None:
        self._stack = stack
        self._random = random.Random(seed)
        self.url = stack.postgres_url.rpartition("/")[0] + f"/{database}"
        self.canvases: list[DrawnCanvas] = []

    async def prepare(self) -> None:
        """Create missing canvases, and give each canvas 12 entries that are older than the retention."""
        async with self.tables() as tables:
            while len(self.canvases) < CANVASES:
                canvas_id = await tables.create()
                self.canvases.append(DrawnCanvas(canvas_id, Pen(canvas_id, secrets.token_hex(8))))
            for canvas in self.canvases:
                new = [canvas.pen.draw(str(len(canvas.entries) + number)) for number in range(12)]
                await tables.journal.append(new)
                canvas.entries += new
                canvas.last_old_revision = len(canvas.entries)
            await tables.pass_days(3)

    async def run_and_kill(self) -> str:
        """Start the service, edit all canvases, and kill the service or PostgreSQL at a random point.

        Return the name of the killed process.
        """
        victim = self._random.choice(("state", "postgres"))
        snapshots = self._random.randrange(2 * CANVASES + 4)
        async with self.service() as process, self._bus() as bus:
            edits = asyncio.create_task(self._edit_all(bus))
            await self._until_snapshots(snapshots)
            await asyncio.sleep(self._random.uniform(0, 0.02))  # kill at any point of a step
            if victim == "state":
                process.kill()
                await process.wait()
                edits.cancel()
            else:
                server = self._stack.process("postgres")
                server.kill()
                await server.wait_ready()
                await edits
        await asyncio.gather(edits, return_exceptions=True)
        return victim

    async def run_to_the_end(self) -> None:
        """Start the service again, resend the edits, and wait until no compaction and no partition drop is due."""
        async with self.service(), self._bus() as bus:
            await self._edit_all(bus)
            async with asyncio.timeout(100):
                while not await self._is_all_done():
                    await pause()

    async def check(self) -> None:
        """Check the content of each snapshot and each readable revision, and that no detached partition is left."""
        async with self.tables() as tables:
            row = await tables.tables.fetchrow(_COUNT_PARTITIONS)
            assert row is not None
            assert row["tables"] == row["attached"]
            for canvas in self.canvases:
                await _check_canvas(tables, canvas)

    @asynccontextmanager
    async def tables(self) -> AsyncIterator[FreshTables]:
        """Connect to the tables of the service."""
        async with postgres.connect(
            self.url, schema="state", package="svgx_state", pool_size=2
        ) as database:
            connection = await asyncpg.connect(self.url, server_settings={"search_path": "state"})
            try:
                yield FreshTables(database, connection)
            finally:
                await connection.close()

    @asynccontextmanager
    async def service(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the service, and kill it at the end."""
        environment = {
            **os.environ,
            "API_HOST": "127.0.0.1",
            "API_PORT": str(choose()),
            "NATS_URL": self._stack.nats_url("state"),
            "POSTGRES_URL": self.url,
            "WORKER_COUNT": "1",
            "COMPACT_AFTER_ENTRIES": str(COMPACT_AFTER),
            "JOURNAL_RETENTION_DAYS": str(RETENTION_DAYS),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "svgx_state"),
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @asynccontextmanager
    async def _bus(self) -> AsyncIterator[Bus]:
        bus = await Bus.connect(self._stack.nats_url("operator"), "gateway", "chaos")
        try:
            yield bus
        finally:
            await bus.close()

    async def _edit_all(self, bus: Bus) -> None:
        """Send one new entry of each canvas until the entry is committed. A second call sends the same entries."""
        for canvas in self.canvases:
            if len(canvas.entries) == canvas.last_old_revision:
                canvas.entries.append(canvas.pen.draw(f"new {len(canvas.entries)}"))
            entry = canvas.entries[-1]
            request = state.AppendRequest(content=encode(EntryBatch((entry,))))
            while True:
                try:
                    reply = await bus.ask(state.JOURNAL_APPEND, request)
                except SvgxError:
                    await asyncio.sleep(0.05)
                    continue
                (committed,) = decode(CommittedBatch, reply.content).results
                assert committed.revision == len(canvas.entries)
                break

    async def _until_snapshots(self, snapshots: int) -> None:
        """Wait until there are `snapshots` more snapshots than now, or until no old partition is left."""
        connection = await asyncpg.connect(self.url, server_settings={"search_path": "state"})
        try:
            before = await connection.fetchval(_COUNT_SNAPSHOTS)
            async with asyncio.timeout(60):
                while await connection.fetchval(_COUNT_SNAPSHOTS) - before < snapshots:
                    if not await connection.fetchval(_COUNT_OLD_PARTITIONS, RETENTION_DAYS):
                        break
        finally:
            await connection.close()

    async def _is_all_done(self) -> bool:
        """Return whether no old partition is left, and no canvas is due for a compaction."""
        async with self.tables() as tables:
            old = await tables.tables.fetchval(_COUNT_OLD_PARTITIONS, RETENTION_DAYS)
            due = await tables.tables.fetchval(
                "SELECT count(*) FROM canvas WHERE revision - snapshot_revision >= $1",
                COMPACT_AFTER,
            )
            return not old and not due


async def _check_canvas(tables: FreshTables, canvas: DrawnCanvas) -> None:
    content = await tables.journal.load(canvas.id)
    # The service may have been killed before it got the last entry.
    assert content.revision in (len(canvas.entries), len(canvas.entries) - 1)
    assert elements(content.updates) == canvas.content(content.revision)
    for revision in range(canvas.last_old_revision, content.revision + 1):
        assert elements(await tables.past(canvas.id, revision)) == canvas.content(revision)
    rows = await tables.tables.fetch("SELECT * FROM snapshot WHERE canvas_id = $1", canvas.id)
    for row in rows:
        assert is_sound(row["update"], row["checksum"])
        assert elements([row["update"]]) == canvas.content(row["through_revision"])
    newest = max((row["through_revision"] for row in rows), default=0)
    stored = await tables.tables.fetchval(
        "SELECT snapshot_revision FROM canvas WHERE id = $1", canvas.id
    )
    assert stored == newest


@asynccontextmanager
async def killable_state(stack: DevStack, seed: int) -> AsyncIterator[KillableState]:
    """Create a database for the service, and drop it afterwards."""
    name = f"chaos_{secrets.token_hex(4)}"
    owner = stack.postgres_url.partition("//")[2].partition(":")[0]
    await _administer(stack, f"CREATE DATABASE {name} OWNER {owner}")
    try:
        yield KillableState(stack, name, seed)
    finally:
        await _administer(stack, f"DROP DATABASE {name} WITH (FORCE)")


async def _administer(stack: DevStack, statement: str) -> None:
    connection = await asyncpg.connect(stack.postgres_superuser_url("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
