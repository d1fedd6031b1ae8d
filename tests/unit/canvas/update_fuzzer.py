"""Random updates, well formed or not."""

import random
from collections.abc import Mapping

from tests.unit.yjs.updates import (
    ANY,
    BINARY,
    DELETED,
    DOC,
    EMBED,
    FORMAT,
    GC,
    MAP,
    NULL,
    SKIP,
    STRING,
    TYPE,
    Struct,
    after,
    between,
    deletions,
    gap,
    in_root,
    inside,
    text,
    update,
)

CLIENTS = (1, 2, 3, 4)
CONTENTS = [
    (DELETED, b"\x02", 2),
    (BINARY, b"\x02xy", 1),
    (STRING, text("a"), 1),
    (STRING, text("a𝄞b"), 4),
    (EMBED, text('{"e":1}'), 1),
    (FORMAT, text("bold") + text("null"), 1),
    (TYPE, MAP, 1),
    (TYPE, b"\x00", 1),
    (TYPE, b"\x02", 1),
    (TYPE, b"\x03" + text("n"), 1),
    (ANY, NULL, 1),
    (ANY, b"\x02\x75\x01\x7e\x76\x00", 2),
    (DOC, text("guid") + b"\x76\x00", 1),
]
"""Contents of structs: kind, encoded content, and length in clocks."""


class UpdateFuzzer:
    """A generator of updates with structs that refer to each other and to arbitrary other structs."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._max_clock = self._rng.choice([2, 5, 12])

    def update(self) -> bytes:
        rng = self._rng
        sections = []
        for client in rng.sample(CLIENTS, rng.randrange(1, 4)):
            clock = start = rng.randrange(self._max_clock)
            structs: list[Struct] = []
            for _ in range(rng.randrange(1, 5)):
                struct, length = self._struct(client, clock)
                structs.append(struct)
                clock += length
            sections.append((client, start, structs))
        return update(*sections, deleted=self._deletions())

    def short_edit(self, known: Mapping[int, int]) -> bytes:
        """Return an update with one struct, the next one of its client in a document with the clocks `known`."""
        client = self._rng.choice(CLIENTS)
        clock = known.get(client, 0)
        struct, _ = self._struct(client, clock)
        return update((client, clock, [struct]), deleted=self._deletions())

    def _struct(self, client: int, clock: int) -> tuple[Struct, int]:
        rng = self._rng
        if rng.random() < 0.15:
            length = rng.randrange(1, 4)
            return gap(rng.choice([GC, SKIP]), length), length
        kind, content, length = rng.choice(CONTENTS)
        match rng.randrange(4):
            case 0:
                return in_root(kind, content, key=rng.choice("ab"), root=rng.choice("tu")), length
            case 1:
                key = rng.choice("ab")
                return inside(kind, content, self._random_id(client, clock), key=key), length
            case 2:
                return after(kind, content, self._random_id(client, clock)), length
            case _:
                left, right = self._random_id(client, clock), self._random_id(client, clock)
                return between(kind, content, left, right), length

    def _random_id(self, client: int, clock: int) -> tuple[int, int]:
        other = self._rng.choice(CLIENTS)
        return other, self._rng.randrange(max(1, clock) if other == client else self._max_clock)

    def _deletions(self) -> bytes:
        rng = self._rng
        return deletions(
            *(
                (client, [(rng.randrange(self._max_clock), rng.randrange(1, 4)) for _ in range(2)])
                for client in rng.sample(CLIENTS, rng.randrange(3))
            )
        )
