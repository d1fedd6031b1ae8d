"""The Yjs clients of past edits that no request uses at present. No I/O."""

from svgx_canvas.changes.yjs_client import YjsClient

MAX_AUTHORS = 1000
"""Largest number of pairs of a canvas and an author with idle clients.

Beyond it, the pair that has had no edit for the longest time is forgotten.
"""

MAX_CLIENTS_EACH = 16
"""Largest number of idle clients of an author on a canvas. Beyond it, a client is not kept.

An author has as many clients as it has had requests at the same time. All visitors of a share link are one author.
"""


class IdleClients:
    """The idle Yjs clients of each author on each canvas. A client that is forgotten is never used again."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str], list[YjsClient]] = {}
        """The clients by canvas and author. The author of the newest edit comes last."""

    def take(self, canvas_id: str, author: str) -> YjsClient | None:
        """Return an idle client, which is not idle any more, or None."""
        clients = self._clients.get((canvas_id, author))
        if not clients:
            return None
        client = clients.pop()
        if not clients:
            del self._clients[canvas_id, author]
        return client

    def put(self, canvas_id: str, author: str, client: YjsClient) -> None:
        """Keep a client. All its edits must be saved."""
        clients = self._clients.pop((canvas_id, author), [])
        if len(clients) < MAX_CLIENTS_EACH:
            clients.append(client)
        self._clients[canvas_id, author] = clients
        if len(self._clients) > MAX_AUTHORS:
            del self._clients[next(iter(self._clients))]
