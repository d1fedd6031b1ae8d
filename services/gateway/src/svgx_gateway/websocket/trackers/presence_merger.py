"""The presence merger: the newest awareness states that the clients of one canvas have not received yet. No I/O."""

from collections.abc import Iterable

from svgx_yjs import awareness
from svgx_yjs.awareness import Entry
from svgx_yjs.lib0 import Encoder


class PresenceMerger:
    """The waiting states: only the newest state of each client, because a state replaces all earlier ones."""

    def __init__(self) -> None:
        self._waiting: dict[int, Entry] = {}
        self._present: set[int] = set()

    def add(self, update: bytes) -> bool:
        """Add an awareness update. Return whether a client has joined or left, which other clients must see at once."""
        is_urgent = False
        for entry in awareness.entries(update):
            self._waiting[entry.client] = entry
            if entry.present != (entry.client in self._present):
                is_urgent = True
                (self._present.add if entry.present else self._present.discard)(entry.client)
        return is_urgent

    def take(self) -> dict[int, Entry]:
        """Return the waiting states, by their clients, and forget them."""
        waiting, self._waiting = self._waiting, {}
        return waiting


def encode(entries: Iterable[Entry]) -> bytes:
    """Encode an awareness update of received entries."""
    entry_list = list(entries)
    encoder = Encoder().uint(len(entry_list))
    for entry in entry_list:
        encoder.uint(entry.client).uint(entry.clock).buffer(entry.json)
    return encoder.finish()
