"""In the benchmark's delays, an edit that did not arrive has an infinite delay."""

import math
import socket

from bench.collab.delays import Writing, delays
from bench.collab.edits import Writer
from bench.collab.frames import Target
from bench.collab.sockets import Client
from svgx_yjs import protocol
from tests.unit.bench.test_sockets import server_frame

MS = 1_000_000
"""Nanoseconds in a millisecond."""


def test_delays_of_missing_and_late_edits_are_infinite() -> None:
    """One of four edits is lost and has an infinite delay. A late edit has a delay only with a later deadline."""
    with socket.socket() as connection:
        sender, receiver = (Client(Target(1, "/"), connection) for _ in range(2))
    writer = Writer(9)
    writing = Writing(writer, sender, 0, stamps=[10 * MS, 20 * MS, 30 * MS, 40 * MS])
    receiver.start_record()
    for time, number in ((11, 1), (22, 2), (500, 3)):
        update = protocol.encode_update(writer.edit(number))
        receiver.scan(memoryview(server_frame(update)), time * MS)
    found = delays([writing], {0: sender, 1: receiver}, 2, 100 * MS, saved=False)
    assert found.share == 0.5
    assert found.quantiles == {"p50": math.inf, "p95": math.inf, "p99": math.inf}
    found = delays([writing], {1: receiver}, 2, 600 * MS, saved=False)
    assert found.share == 0.75
    assert found.quantiles == {"p50": 470.0, "p95": math.inf, "p99": math.inf}


def test_delays_until_saved_are_measured_on_the_writers_own_connection() -> None:
    with socket.socket() as connection:
        sender = Client(Target(1, "/"), connection)
    writing = Writing(Writer(9), sender, 0, stamps=[10 * MS, 20 * MS])
    sender.start_record()
    # The first saved message confirms the creation of the element.
    for time, count in ((5, 1), (40, 3)):
        sender.scan(memoryview(server_frame(protocol.encode_saved(count))), time * MS)
    found = delays([writing], {0: sender}, 1, 100 * MS, saved=True)
    assert found.quantiles["saved_p95"] == 30.0
    assert found.quantiles["saved_share"] == 1.0
