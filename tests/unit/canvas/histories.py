"""Histories of edits, and the content that they make."""

import random

from pycrdt import Doc, Map, Text, merge_updates

from svgx_canvas.document.shared_document import SharedDocument

Document = Doc[Map[object]]


def history(seed: int, length: int = 60) -> list[bytes]:
    """Return updates of three clients that edit and delete concurrently, and exchange some of their updates."""
    rng = random.Random(seed)
    docs: list[Document] = [Doc(client_id=client) for client in (1, 2, 3)]
    updates: list[bytes] = []
    for doc in docs:
        doc.get("elements", type=Map)
        doc.observe(lambda event: updates.append(event.update))
    for _ in range(length):
        doc = rng.choice(docs)
        elements = doc.get("elements", type=Map)
        key = f"k{rng.randrange(6)}"
        before = len(updates)
        if key in elements and rng.random() < 0.4:
            del elements[key]
        elif rng.random() < 0.3:
            with doc.transaction():
                elements[key] = Map({"tag": "rect", "text": Text("some text")})
        else:
            elements[key] = rng.randrange(100)
        new = updates[before:]
        # The other documents report the applied updates again. Remove these repetitions below.
        for other in docs:
            if other is not doc and rng.random() < 0.5:
                for update in new:
                    other.apply_update(update)
        del updates[before + len(new) :]
    return updates


def ordered_history(seed: int, length: int = 60) -> list[bytes]:
    """Return a history in fewer updates, because some are merged: each after all updates that it depends on."""
    document = SharedDocument.load()
    updates = history(seed, length)
    random.Random(seed).shuffle(updates)
    for update in updates:
        document.take(update)
    return document.flush()


def content(*updates: bytes) -> object:
    """Return the elements that these updates make."""
    # The updates are merged first, because pycrdt 0.14 loses pending updates that are applied one by one.
    doc: Document = Doc()
    doc.apply_update(merge_updates(*updates))
    return doc.get("elements", type=Map).to_py()
