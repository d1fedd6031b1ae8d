"""The raw clients of the benchmark count frames and find the document, no matter where the bytes are split."""

import random
import socket

import pytest

from bench.collab import edits
from bench.collab.arrivals import Arrivals, messages
from bench.collab.frames import CLOSE, PING, Target, cursor, frame, hocuspocus_target
from bench.collab.sockets import Client
from svgx_yjs import protocol


def server_frame(payload: bytes, first_byte: int = 0x82) -> bytes:
    """Return a frame as a server sends it: without a mask."""
    masked = frame(payload, first_byte)
    header = masked[: len(masked) - len(payload) - 4]
    return bytes((header[0], header[1] & 0x7F)) + header[2:] + payload


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Client:
    """Return a client of one of our canvases, or of the target in the test's parameter."""
    target = getattr(request, "param", Target(1, "/"))
    with socket.socket() as connection:
        return Client(target, connection, is_open=True)


def pieces(data: bytes, seed: int) -> list[bytes]:
    """Cut bytes at random places. Seed 0 cuts between all bytes."""
    if not seed:
        return [data[index : index + 1] for index in range(len(data))]
    cuts = sorted(random.Random(seed).choices(range(len(data)), k=seed))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "client", [Target(1, "/"), hocuspocus_target(1, "room-1")], indirect=True, ids=["ours", "peer"]
)
def test_scan_of_split_frames_counts_and_decodes_each(client: Client, seed: int) -> None:
    writer = edits.Writer(9)
    prefix = client.target.prefix
    document = protocol.encode_sync_step_2(b"x" * 70_000)
    contents = [protocol.encode_saved(1), document]
    contents += [protocol.encode_update(writer.edit(number)) for number in range(1, 6)]
    contents += [cursor(9, 1), protocol.encode_saved(3), protocol.encode_saved(6)]
    client.start_record()
    data = b"".join(server_frame(prefix + content) for content in contents)
    for time, piece in enumerate(pieces(data, seed), 1):
        client.scan(memoryview(piece), time)
    assert client.received == len(contents)
    assert client.synced_ns
    assert [message for _, message in messages(client)] == contents


def test_scan_answers_a_ping_and_notices_a_close(client: Client) -> None:
    client.scan(memoryview(server_frame(b"abc", PING)), 1)
    assert client.unsent == frame(b"abc", 0x8A)
    client.scan(memoryview(server_frame((4409).to_bytes(2), CLOSE)), 2)
    assert client.closed == 4409


def test_arrivals_have_the_first_time_of_each_edit(client: Client) -> None:
    writer = edits.Writer(9)
    client.start_record()
    for time, number in ((10, 2), (20, 1), (30, 2), (40, 4)):
        update = protocol.encode_update(writer.edit(number))
        client.scan(memoryview(server_frame(update)), time)
    assert Arrivals(client, {9: 4}, {}).times == {9: [20, 10, 0, 40]}


def test_arrival_of_a_newer_cursor_counts_for_skipped_cursors(client: Client) -> None:
    """A cursor has the time at which it or a newer cursor first arrived, or 0 if none of them arrived."""
    client.start_record()
    for time, clock in ((10, 1), (20, 4), (30, 3)):
        client.scan(memoryview(server_frame(cursor(9, clock))), time)
    assert Arrivals(client, {9: 5}, {}).times == {9: [10, 20, 20, 20, 0]}


def test_saved_time_of_a_message_is_the_time_of_the_first_receipt_for_it(
    client: Client,
) -> None:
    client.start_record()
    for time, count in ((10, 1), (20, 3), (30, 4)):
        client.scan(memoryview(server_frame(protocol.encode_saved(count))), time)
    assert Arrivals(client, {}, {}).saved_times(2, 4) == [20, 20, 30, 0]
