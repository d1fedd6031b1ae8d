"""The memory of idle connections."""

from bench.collab.load import Figures, settle
from bench.collab.servers import Server
from bench.collab.sockets import Clients

CONNECTIONS, QUICK_CONNECTIONS = 1000, 200
_CONNECTIONS_PER_ROOM = 50
_IDLE_SECONDS = 3.0


def run(server: Server, quick: bool) -> Figures:
    """Connect clients that do nothing. Return the growth of the memory of all processes for each client."""
    count = QUICK_CONNECTIONS if quick else CONNECTIONS
    rooms = server.rooms(count // _CONNECTIONS_PER_ROOM, _CONNECTIONS_PER_ROOM)
    with Clients() as clients:
        # Some memory is taken once, by the first connection.
        clients.drop(clients.open([server.target(rooms[0], 0)]))
        settle(clients, _IDLE_SECONDS)
        before = server.memory_bytes()
        clients.open(
            server.target(room, member) for room in rooms for member in range(_CONNECTIONS_PER_ROOM)
        )
        clients.run(_IDLE_SECONDS)
        after = server.memory_bytes()
    return {
        "kb_of_connection": (after - before) / count / 1000,
        "mb_before": before / 1e6,
        "mb_after": after / 1e6,
    }
