"""The servers under load: `make run`'s stack, and Hocuspocus with one node and with two."""

from collections.abc import Mapping
from typing import Protocol

from bench.collab.frames import Target


class Server(Protocol):
    """A running server."""

    @property
    def name(self) -> str:
        """The name in the table."""

    @property
    def saves(self) -> bool:
        """Whether the server stores documents and reports saved messages."""

    def rooms(self, count: int, members: int) -> list[str]:
        """Create documents for `members` clients each, and return their names."""

    def target(self, room: str, member: int, *, saved: bool = False) -> Target:
        """Return the address of a document for the client with the number `member`, counted from 0.

        If `member` is the number of members, the address is for one more client. With `saved`, the server reports saved
        messages, if it can.
        """

    def cpu_seconds(self) -> Mapping[str, float]:
        """Return the processor time of each process of the server with its descendants, in seconds."""

    def memory_bytes(self) -> int:
        """Return the memory of all processes of the server in bytes (PSS)."""

    def saved_document(self, room: str) -> bytes | None:
        """Return the saved document as a Yjs update, or None when the server saves nothing."""
