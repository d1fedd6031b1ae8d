"""The idle Yjs clients of authors, and their bounds."""

from svgx_canvas import YjsClient
from svgx_collab.content.idle_clients import MAX_AUTHORS, MAX_CLIENTS_EACH, IdleClients

CLIENT, OTHER = YjsClient(1, 10), YjsClient(2, 20)


def test_client_is_used_by_one_request_at_a_time() -> None:
    """A client that was taken is not idle until it is put back. Proves R-ELEMENT-8."""
    clients = IdleClients()
    assert clients.take("canvas", "ann") is None
    clients.put("canvas", "ann", CLIENT)
    clients.put("canvas", "ann", OTHER)
    assert {clients.take("canvas", "ann"), clients.take("canvas", "ann")} == {CLIENT, OTHER}
    assert clients.take("canvas", "ann") is None


def test_client_belongs_to_one_author_and_one_canvas() -> None:
    """No other author and no other canvas gets the client. Proves R-ELEMENT-8."""
    clients = IdleClients()
    clients.put("canvas", "ann", CLIENT)
    assert clients.take("canvas", "eve") is None
    assert clients.take("other", "ann") is None
    assert clients.take("canvas", "ann") == CLIENT


def test_idle_clients_are_bounded() -> None:
    """The author without an edit for the longest time is forgotten. Proves R-ELEMENT-8."""
    clients = IdleClients()
    for number in range(MAX_AUTHORS):
        clients.put("canvas", str(number), YjsClient(number, 1))
    clients.put("canvas", "0", OTHER)
    clients.put("canvas", "ann", CLIENT)
    assert clients.take("canvas", "1") is None
    assert clients.take("canvas", "0") == OTHER
    for number in range(2 * MAX_CLIENTS_EACH):
        clients.put("canvas", "eve", YjsClient(number, 1))
    taken = [clients.take("canvas", "eve") for _ in range(MAX_CLIENTS_EACH + 1)]
    assert taken[-1] is None
    assert None not in taken[:-1]
