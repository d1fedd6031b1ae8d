"""Random steps on canvases. A seed determines the steps. A plain replay of all entries gives the expected content.

Each kind of step is a function, with a weight in `STEPS`. A test adds further kinds to a copy of this dictionary.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pycrdt import Array, Doc, Map, Text

from svgx_canvas.document.shared_document import SharedDocument
from svgx_common.contract.state import Entry
from svgx_state.journal import Journal
from svgx_state.journal.retention import Retention
from svgx_state.snapshots import Compactor
from svgx_workers.pool import Workers
from svgx_yjs.structure import EMPTY_STATE_VECTOR
from tests.integration.state.fresh_tables import FreshTables

RETENTION_DAYS = 3
LETTERS = "abcdefghij"


class RandomClient:
    """A client with its own copy of the document. It may edit before it has received the edits of other clients."""

    def __init__(self, random: random.Random, client_id: int) -> None:
        self._random = random
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.elements: Map[Any] = self.doc.get("elements", type=Map)
        self.text: Text = self.doc.get("text", type=Text)
        self.order: Array[Any] = self.doc.get("order", type=Array)

    def edit(self) -> bytes:
        """Make one random edit, and return its update."""
        before = self.doc.get_state()
        choice, key = self._random.random(), self._random.choice(LETTERS)
        if choice < 0.35:
            self.elements[key] = self._random.randrange(1000)
        elif choice < 0.45 and key in self.elements:
            del self.elements[key]
        elif choice < 0.7:
            position = self._random.randint(0, len(self.text))
            self.text.insert(position, key * self._random.randint(1, 9))
        elif choice < 0.8 and len(self.text) > 2:
            start = self._random.randrange(len(self.text) - 1)
            del self.text[start : start + self._random.randint(1, 2)]
        elif choice < 0.9 or not len(self.order):
            self.order.insert(self._random.randint(0, len(self.order)), key)
        else:
            del self.order[self._random.randrange(len(self.order))]
        return self.doc.get_update(before)


Contents = tuple[dict[str, object], str, list[object], dict[int, int]]


def contents(updates: Sequence[bytes]) -> Contents:
    """Return the contents of a document made of updates."""
    return contents_of(SharedDocument.load(updates))


def contents_of(shared: SharedDocument) -> Contents:
    """Return the elements, the text, the order and the clocks of a document.

    The document is a `SharedDocument`, because pycrdt alone loses some updates that wait for a missing one.
    """
    assert shared.left_out == 0
    copy = RandomClient(random.Random(0), 1)
    copy.doc.apply_update(shared.missing(EMPTY_STATE_VECTOR))
    return (
        dict(copy.elements.to_py() or {}),
        str(copy.text),
        list(copy.order.to_py() or []),
        {client: clock for client, clock in shared.clocks.items() if clock},
    )


@dataclass
class RandomCanvas:
    """A canvas, its clients, and everything that was committed: `updates[R - 1]` is the update of revision R."""

    id: str
    clients: list[RandomClient]
    updates: list[bytes] = field(default_factory=list)
    replay: SharedDocument = field(default_factory=SharedDocument)
    """The document to which all updates were applied, one after the other."""
    content_of_revisions: list[Contents] = field(
        default_factory=lambda: [contents_of(SharedDocument())]
    )
    """The content of each revision in the replay, from revision 0."""
    days: list[date] = field(default_factory=list)
    """The day of each revision."""
    waiting: list[Entry] = field(default_factory=list)
    """Entries that were made and not sent yet."""
    sent: list[Entry] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)
    holder: int = 0


class RandomCanvases:
    """Canvases, and the parts of the service that work on them."""

    def __init__(self, fresh: FreshTables, workers: Workers, seed: int) -> None:
        self.fresh = fresh
        self.workers = workers
        self.random = random.Random(seed)
        self.canvases: list[RandomCanvas] = []
        self.today = datetime.now(UTC).date()
        """The present day. It stays the same: when a day passes, the days of all revisions become earlier."""
        self.first_day = self.today - timedelta(days=RETENTION_DAYS + 1)
        """The first day that is kept. The journal of earlier days was dropped."""
        self.restart()

    def restart(self) -> None:
        """Replace all parts of the service."""
        self.journal = Journal(self.fresh.database, lambda *_: None)
        self.compactor: Compactor = self.fresh.compactor(self.workers, keep_after_bytes=6_000)
        self.retention = Retention(self.fresh.database, self.compactor, days=RETENTION_DAYS)

    async def create(self) -> None:
        """Create a canvas with three clients."""
        clients = [RandomClient(self.random, self.random.randrange(1, 2**32)) for _ in range(3)]
        self.canvases.append(RandomCanvas(await self.fresh.create(), clients))

    def first_revision(self, canvas: RandomCanvas) -> int:
        """Return the first readable revision: the last one before the kept days, which a snapshot contains."""
        return sum(day < self.first_day for day in canvas.days)

    async def check(self, canvas: RandomCanvas, revision: int) -> None:
        """Compare the content at a revision with the plain replay."""
        found = contents(await self.fresh.past(canvas.id, revision))
        assert found == canvas.content_of_revisions[revision], (canvas.id, revision)

    async def check_now(self, canvas: RandomCanvas) -> None:
        """Load the canvas as a new, an outdated or a current holder, and compare its content with the plain replay."""
        newest = len(canvas.updates)
        after = self.random.choice((0, newest, self.random.randint(max(0, newest - 40), newest)))
        content = await self.journal.load(canvas.id, after)
        assert content.revision == newest
        is_tail = content.updates == tuple(canvas.updates[after:])
        if not is_tail or not after:
            assert contents(content.updates) == canvas.content_of_revisions[newest], after


Step = Callable[[RandomCanvases, RandomCanvas], Awaitable[None]]


async def edit(world: RandomCanvases, canvas: RandomCanvas) -> None:
    """Let some clients edit. Send the entries in random order, some of them later, and some of them twice."""
    for client in world.random.sample(canvas.clients, world.random.randint(1, 2)):
        for _ in range(world.random.randint(1, 2)):
            writer = f"holder {canvas.holder}"
            canvas.sequences[writer] = sequence = canvas.sequences.get(writer, 0) + 1
            author = f"user {canvas.clients.index(client)}"
            canvas.waiting.append(Entry(canvas.id, writer, sequence, (author,), client.edit()))
    world.random.shuffle(canvas.waiting)
    count = world.random.randint(len(canvas.waiting) // 2, len(canvas.waiting))
    await _send(world, canvas, count)


async def _send(world: RandomCanvases, canvas: RandomCanvas, count: int) -> None:
    group, canvas.waiting = canvas.waiting[:count], canvas.waiting[count:]
    repeated = world.random.sample(canvas.sent[-20:], min(2, len(canvas.sent[-20:])))
    mixed = [*repeated, *group] if world.random.random() < 0.2 else group
    results = await world.journal.append(mixed)
    for entry, result in zip(mixed, results, strict=True):
        if entry in group:
            canvas.updates.append(entry.update)
            canvas.replay.load_update(entry.update)
            canvas.replay.resume()
            canvas.content_of_revisions.append(contents_of(canvas.replay))
            canvas.days.append(world.today)
            canvas.sent.append(entry)
            assert result.revision == len(canvas.updates)
        else:
            assert canvas.updates[result.revision - 1] == entry.update


async def exchange(world: RandomCanvases, canvas: RandomCanvas) -> None:
    """Let one client receive all edits of another client."""
    receiver, sender = world.random.sample(canvas.clients, 2)
    receiver.doc.apply_update(sender.doc.get_update(receiver.doc.get_state()))


async def change_holder(world: RandomCanvases, canvas: RandomCanvas) -> None:
    """Give the canvas a random holder, which may be the present or an earlier holder."""
    canvas.holder = world.random.randint(0, 3)


async def compact(world: RandomCanvases, canvas: RandomCanvas) -> None:
    """Compact the canvas."""
    await world.compactor.compact(canvas.id)


async def pass_a_day(world: RandomCanvases, _: RandomCanvas) -> None:
    """Let a day pass. Entries from before this day are not sent again."""
    await world.fresh.pass_days()
    world.first_day -= timedelta(days=1)
    for canvas in world.canvases:
        canvas.days = [day - timedelta(days=1) for day in canvas.days]
        canvas.sent.clear()


async def drop_old_days(world: RandomCanvases, _: RandomCanvas) -> None:
    """Drop the days that are older than the retention."""
    assert await world.retention.drop(datetime.now(UTC))
    world.first_day = world.today - timedelta(days=RETENTION_DAYS)


async def restart(world: RandomCanvases, _: RandomCanvas) -> None:
    """Restart the replica."""
    world.restart()


async def read_past(world: RandomCanvases, canvas: RandomCanvas) -> None:
    """Read a past revision, and compare it with the plain replay."""
    first = world.first_revision(canvas)
    await world.check(canvas, world.random.randint(first, len(canvas.updates)))


async def load(world: RandomCanvases, canvas: RandomCanvas) -> None:
    """Load the canvas, and compare its content with the plain replay."""
    await world.check_now(canvas)


STEPS: Mapping[Step, int] = {
    edit: 50,
    exchange: 16,
    change_holder: 3,
    compact: 8,
    pass_a_day: 1,
    drop_old_days: 2,
    restart: 2,
    read_past: 10,
    load: 8,
}
"""The kinds of steps, and the weight of each in the random choice."""


async def run(
    world: RandomCanvases, steps: int, canvases: int, kinds: Mapping[Step, int] = STEPS
) -> None:
    """Do random steps on random canvases, and compare every seventh readable revision at the end."""
    for _ in range(canvases):
        await world.create()
    for step in world.random.choices(list(kinds), list(kinds.values()), k=steps):
        await step(world, world.random.choice(world.canvases))
    for canvas in world.canvases:
        await _send(world, canvas, len(canvas.waiting))
        await world.check_now(canvas)
        for revision in range(world.first_revision(canvas), len(canvas.updates) + 1, 7):
            await world.check(canvas, revision)
