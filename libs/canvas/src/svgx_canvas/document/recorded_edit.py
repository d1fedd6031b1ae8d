"""An edit of a document in one transaction, and its update."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pycrdt import Doc, Map, TransactionEvent


@dataclass(slots=True)
class RecordedEdit:
    """An edit. At its end, `update` is its Yjs v1 update, or None if nothing has changed."""

    update: bytes | None = None


@contextmanager
def record_edit(doc: Doc[Map[object]]) -> Iterator[RecordedEdit]:
    """Run the block as one transaction of the document, and record its update.

    The root types that the block uses must exist before it, because the update does not have their creation.
    """
    edit = RecordedEdit()

    def on_change(event: TransactionEvent) -> None:
        edit.update = event.update

    subscription = doc.observe(on_change)
    with doc.transaction():
        yield edit
    doc.unobserve(subscription)
