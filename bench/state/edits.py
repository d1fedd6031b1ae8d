"""Edits as people make them: elements are drawn, moved and styled, and some are removed."""

import random
import uuid
from collections.abc import Iterator

from pycrdt import Doc, Map

from svgx_common.contract.state import Entry

MAX_ELEMENTS = 300
"""The largest number of elements of one canvas. Beyond it, an element is removed for each new one."""


def updates(seed: int) -> Iterator[bytes]:
    """Yield the updates of one client that draws on a canvas, without end."""
    choose = random.Random(seed)  # noqa: S311
    doc: Doc[Map[Map[str]]] = Doc(client_id=choose.randrange(1, 2**32))
    elements = doc.get("elements", type=Map)
    names: list[str] = []
    made: list[bytes] = []
    # A client sends the update of its transaction. `get_update` would add all earlier deletions.
    doc.observe(lambda event: made.append(event.update))
    while True:
        chance = choose.random()
        if chance < 0.1 or not names:
            if len(names) == MAX_ELEMENTS:
                del elements[names.pop(choose.randrange(MAX_ELEMENTS))]
                yield made.pop()
            name = f"e{choose.randrange(2**32):08x}"
            elements[name] = Map(
                {
                    "type": "rect",
                    "x": f"{choose.uniform(0, 2000):.1f}",
                    "y": f"{choose.uniform(0, 2000):.1f}",
                    "width": "120",
                    "height": "80",
                    "fill": f"#{choose.randrange(2**24):06x}",
                }
            )
            names.append(name)
        elif chance < 0.9:
            element = elements[choose.choice(names)]
            with doc.transaction():
                element["x"] = f"{choose.uniform(0, 2000):.1f}"
                element["y"] = f"{choose.uniform(0, 2000):.1f}"
        else:
            elements[choose.choice(names)]["fill"] = f"#{choose.randrange(2**24):06x}"
        assert len(made) == 1
        yield made.pop()


def entries(canvas_id: str, seed: int, count: int) -> list[Entry]:
    """Return `count` journal entries of a canvas, each with one edit. Two users take turns every 20 edits."""
    choose = random.Random(seed)  # noqa: S311
    users = [str(uuid.UUID(int=choose.getrandbits(128))) for _ in range(2)]
    writer = f"{choose.getrandbits(64):016x}"
    source = updates(seed)
    return [
        Entry(canvas_id, writer, number, (users[number // 20 % 2],), next(source))
        for number in range(1, count + 1)
    ]
