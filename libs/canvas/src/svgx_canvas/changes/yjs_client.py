"""The Yjs client of an edit. An author's later edits can reuse it, because each new client makes a document slower.

A Yjs client may write each of its clocks once. If two edits had structs for the same clocks, a document would take the
first and drop the others. So an edit reuses a client only if the document has all structs of the client's earlier
edits, and no others. The caller must not use one client for two edits at a time, nor after an edit of unknown fate.
"""

from dataclasses import dataclass

from pycrdt import Doc, Map

from svgx_canvas.changes.replacement import load_with_new_client
from svgx_canvas.document.element_tree import load
from svgx_yjs.structure import read_state_vector


@dataclass(frozen=True, slots=True)
class YjsClient:
    """A Yjs client after its last edit."""

    id: int
    clock: int
    """The clock of the next struct, which is the number of clocks that the client has used."""


def load_with_client(state: bytes, client: YjsClient | None) -> Doc[Map[object]]:
    """Return a document with the id of `client`, if the state has exactly the client's clock.

    Otherwise, and without a client, the document has a client id that the state does not have.
    """
    if client is not None:
        doc = load(state, client_id=client.id)
        if own_client(doc) == client:
            return doc
    return load_with_new_client(state)


def own_client(doc: Doc[Map[object]]) -> YjsClient:
    """Return the document's own Yjs client, with its clock in the document."""
    return YjsClient(doc.client_id, read_state_vector(doc.get_state()).get(doc.client_id, 0))
