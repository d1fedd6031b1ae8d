"""The memory of idle connections."""

from bench.collab.load import Figures, settle
from bench.collab.servers import Server
from bench.collab.sockets import Clients

CONNECTIONS, QUICK_CONNECTIONS = 1000, 200
_CONNECTIONS_PER_ROOM = 50
_FIRST_ROOMS, _FIRST_PER_ROOM = 40, 5
_IDLE_SECONDS = 3.0


def run(server: Server, quick: bool) -> Figures:
    """Connect clients that do nothing. Return the memory growth of all processes for each client, in kB.

    The clients of the first rooms do not count, because the caches of each process, such as those of PostgreSQL's
    connections, grow with the first canvases.
    """
    count = QUICK_CONNECTIONS if quick else CONNECTIONS
    first_rooms = server.rooms(_FIRST_ROOMS, _FIRST_PER_ROOM)
    rooms = server.rooms(count // _CONNECTIONS_PER_ROOM, _CONNECTIONS_PER_ROOM)
    with Clients() as clients:
        clients.open(
            server.target(room, member) for room in first_rooms for member in range(_FIRST_PER_ROOM)
        )
        _wait(clients)
        before = server.memory_bytes()
        for room in rooms:
            clients.open(server.target(room, member) for member in range(_CONNECTIONS_PER_ROOM))
        _wait(clients)
        after = server.memory_bytes()
    return {
        "kb_of_connection": (after - before) / count / 1000,
        "mb_before": before / 1e6,
        "mb_after": after / 1e6,
    }


def _wait(clients: Clients) -> None:
    """Wait until nothing arrives, for three seconds at most, and then three seconds more."""
    settle(clients, _IDLE_SECONDS)
    clients.run(_IDLE_SECONDS)
