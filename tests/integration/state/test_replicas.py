"""Several replicas and writers with constant compaction: every reader gets all commits, in their order."""

import asyncio
import random
from collections import defaultdict

import pytest

from svgx_common.contract.state import Entry
from svgx_devstack import DevStack
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.service import Client, Tables, replica
from tests.thorough import selected

CANVASES, WRITERS, ROUNDS, READERS = 6, 4, 40, 2
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


class Run:
    """The writers and readers of one seed, and the results that they received."""

    def __init__(self, client: Client, canvases: list[str]) -> None:
        self.client = client
        self.canvases = canvases
        self.revisions: dict[str, dict[int, bytes]] = defaultdict(dict)
        """By canvas id, then by revision: the acknowledged update."""
        self.drawn: dict[str, dict[str, str]] = defaultdict(dict)
        """By canvas id, then by element: the last value that was drawn."""
        self.writing = True

    async def write(self, name: str, rng: random.Random) -> None:
        """Commit groups of entries for several canvases in random order. Some groups are sent several times."""
        pens = {canvas_id: Pen(canvas_id, name) for canvas_id in self.canvases}
        for number in range(ROUNDS):
            canvas_ids = rng.sample(self.canvases, rng.randint(1, CANVASES))
            element = f"{name}-{number % 7}"
            group = [pens[canvas_id].draw(element, str(number)) for canvas_id in canvas_ids]
            attempts = rng.choice([1, 1, 1, 2, 3])
            if rng.random() < 0.5:
                answers = await asyncio.gather(
                    *(self.client.append(*group) for _ in range(attempts))
                )
            else:
                answers = [await self.client.append(*group) for _ in range(attempts)]
            assert all(answer == answers[0] for answer in answers)
            for entry, committed in zip(group, answers[0], strict=True):
                self.note(entry, committed.revision)
                self.drawn[entry.canvas_id][element] = str(number)

    def note(self, entry: Entry, revision: int) -> None:
        """Note an entry's revision. No other entry of the canvas may have the same revision."""
        assert self.revisions[entry.canvas_id].setdefault(revision, entry.update) == entry.update

    async def read(self, rng: random.Random) -> None:
        """Load the entries after random revisions. Each load must have all entries that were acknowledged before it."""
        while self.writing:
            canvas_id = rng.choice(self.canvases)
            acknowledged = dict(self.revisions[canvas_id])
            newest = max(acknowledged, default=0)
            after = rng.choice([0, 0, rng.randint(0, newest), newest])
            content = await self.client.load(canvas_id, after)
            assert content.revision >= newest
            known = [update for revision, update in acknowledged.items() if revision <= after]
            loaded = elements((*known, *content.updates))
            with_acknowledged = elements((*known, *content.updates, *acknowledged.values()))
            assert loaded == with_acknowledged


@pytest.mark.parametrize("seed", selected([1, 2, 3]))
async def test_fuzzed_commits_are_loaded_in_order_by_all_replicas(
    backing: DevStack, client: Client, seed: int
) -> None:
    """Revisions have no gaps, repeated entries change nothing, and loads equal the whole journal.

    Proves R-STATE-2, R-STATE-3, R-STATE-5, R-STATE-6.
    """
    print(f"seed {seed}")
    rng = random.Random(seed)
    settings = {"compact_after_entries": 5, "compact_concurrency": 3}
    async with replica(backing, **settings), replica(backing, **settings), asyncio.timeout(100):
        run = Run(client, [await client.create(f"canvas {number}") for number in range(CANVASES)])
        readers = [
            asyncio.create_task(run.read(random.Random(f"{seed} r{n}"))) for n in range(READERS)
        ]
        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(run.write(f"writer{number}", random.Random(f"{seed} w{number}")))
        run.writing = False
        await asyncio.gather(*readers)
        for canvas_id in run.canvases:
            revisions = run.revisions[canvas_id]
            assert sorted(revisions) == list(range(1, len(revisions) + 1))
            content = await client.load(canvas_id)
            assert content.revision == len(revisions)
            assert len(content.updates) < len(revisions), "no snapshot was written"
            assert elements(content.updates) == run.drawn[canvas_id]
            # A snapshot and the entries after it have the same content as all entries.
            everything = [revisions[revision] for revision in sorted(revisions)]
            assert elements(content.updates) == elements(everything)
            after = rng.randrange(len(revisions))
            tail = await client.load(canvas_id, after)
            assert elements((*everything[:after], *tail.updates)) == run.drawn[canvas_id]


async def test_appends_with_canvases_in_any_order_do_not_deadlock(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """Appends with the same canvases in opposite order do not deadlock. Proves R-STATE-1."""
    async with replica(backing), replica(backing):
        ids = [await client.create(str(number)) for number in range(30)]
        before = await tables.fetchval(_DEADLOCKS)
        pens = [{canvas_id: Pen(canvas_id, name) for canvas_id in ids} for name in ("up", "down")]
        for number in range(20):
            await asyncio.gather(
                client.append(*(pens[0][canvas_id].draw(str(number)) for canvas_id in ids)),
                client.append(
                    *(pens[1][canvas_id].draw(str(number)) for canvas_id in reversed(ids))
                ),
            )
        assert [(await client.load(canvas_id)).revision for canvas_id in ids] == [40] * 30
        await tables.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
        assert await tables.fetchval(_DEADLOCKS) == before
