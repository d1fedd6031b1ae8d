"""Random documents and operations for tests of changes."""

import random
from typing import Any

from pycrdt import Doc, Map, Text

Operation = dict[str, Any]


def document_of_any_client(rng: random.Random) -> bytes:
    """Return a document with elements in all forms, equal and foreign indexes, cycles and elements without parents."""
    doc: Doc[Any] = Doc()
    stored = doc.get("elements", type=Map)
    ids = [f"e{number}" for number in range(12)]
    for each in ids:
        tag = rng.choice(["g", "g", "rect", "text", "#text", "script"])
        fields: dict[str, Any] = {
            "tag": tag,
            "parent": rng.choice(["", None, "gone", *ids]),
            "order": rng.choice(["a0", "a0", "a1", "", "5", None, "a0V"]),
        }
        if tag == "#text":
            fields["text"] = rng.choice(["one", Text("two"), 5])
        else:
            fields["attrs"] = rng.choice([{"x": "1", "y": 2.0}, Map({"x": "1"}), None])
        is_plain = rng.random() < 0.3 and not any(
            isinstance(f, Map | Text) for f in fields.values()
        )
        stored[each] = fields if is_plain else Map(fields)
    return doc.get_update()


def random_operation(rng: random.Random, ids: list[str]) -> Operation:
    """Return an operation on some of these ids. Many such operations are refused."""
    kind = rng.choice(["create", "update", "move", "delete"])
    if kind == "delete":
        return {"op": kind, "id": rng.choice(ids)}
    if kind == "update":
        attrs = rng.choice([{"x": "7"}, {"x": None}, {"fill": "red", "y": None}])
        return {
            "op": kind,
            "id": rng.choice(ids),
            **rng.choice([{"attrs": attrs}, {"text": "new"}]),
        }
    place = rng.choice([{"before": rng.choice(ids)}, {"after": rng.choice(ids)}, {"order": "a0V"}])
    if rng.random() < 0.5:
        place = {"parent": rng.choice(["", *ids])}
    if kind == "move":
        return {"op": kind, "id": rng.choice(ids), **place}
    return {"op": kind, "id": f"n{rng.randrange(100)}", "tag": rng.choice(["g", "rect"]), **place}
