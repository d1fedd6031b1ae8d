"""Frames that nobody should send: what real clients sent, spoilt in every way, and noise; beside people who draw.

`make fuzz` sends 100,000 of them.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import chain

import psutil
import pytest
import websockets
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from websockets.asyncio.server import serve

from svgx_devstack import DevStack
from svgx_yjs import protocol
from svgx_yjs.lib0 import Malformed
from tests.e2e.clients import canvas_session as studios
from tests.e2e.clients.canvas_session import Studio
from tests.e2e.clients.editor_group import Painters
from tests.e2e.clients.raw_socket import RawSocket, frame
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.limits import ROOMY

FRAMES = int(os.environ.get("SVGX_FUZZ_FRAMES", "3000"))
pytestmark = pytest.mark.timeout(120 + FRAMES // 20)

AT_ONCE = 16
"""Connections that send them."""

EVERYTHING = protocol.encode_sync_step_1(b"\0")
GROWTH = 100 * 1024 * 1024
"""Bytes a process may have more after it."""

ERRORS = ("Traceback", '"level": "ERROR"', '"level": "CRITICAL"', "[error", "[critical")


@pytest.fixture(scope="module")
async def own_studio(
    tmp_path_factory: pytest.TempPathFactory, driver: YjsDriver
) -> AsyncIterator[Studio]:
    """A stack whose logs and processes are looked at."""
    async with (
        DevStack(tmp_path_factory.mktemp("frames"), settings=ROOMY) as stack,
        studios.opened(stack, driver) as studio,
    ):
        yield studio


async def recorded(studio: Studio) -> list[bytes]:
    """What a real client sends that draws, looks and moves."""
    frames: list[bytes] = []
    enough = asyncio.Event()

    async def record(socket: websockets.ServerConnection) -> None:
        await socket.send(protocol.encode_sync_step_1(b"\0"))
        async for message in socket:
            assert isinstance(message, bytes)
            frames.append(message)
            if len(frames) >= 60:
                enough.set()

    async with serve(record, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = await studio.driver.connect(
            "recorded", f"ws://127.0.0.1:{port}", "canvas", awareness={"name": "recorded"}
        )
        await studio.driver.draw([client], seed=1, rate=100)
        await enough.wait()
        await client.destroy()
    kinds = {frame[:2] for frame in frames}
    assert {bytes([0, 0]), bytes([0, 1]), bytes([0, 2])} <= kinds
    return frames


def spoilt(frames: list[bytes]) -> st.SearchStrategy[bytes]:
    """One of the frames with something done to it, or noise."""

    def spoil(first: bytes, second: bytes, way: int, place: int, noise: bytes) -> bytes:
        at = place % (len(first) + 1)
        before, after = first[:at], first[at:]
        flipped = bytearray(first)
        for number, byte in enumerate(noise):
            flipped[(at + number * 7) % len(flipped)] ^= byte
        ways = (
            before,
            before + noise + after,
            before + second[at:],
            before + noise + after[len(noise) :],
            before + b"\xff" * 9 + after,
            first + second,
            bytes(flipped),
            noise[:2] + first[2:],
        )
        return ways[way]

    one = st.sampled_from(frames)
    noise = st.binary(min_size=1, max_size=24)
    mutated = st.builds(spoil, one, one, st.integers(0, 7), st.integers(0, 4096), noise)
    kinds = st.sampled_from([b"", b"\0\0", b"\0\1", b"\0\2", b"\1", b"\2", b"\3", b"\x64", b"\x65"])
    return st.one_of(mutated, mutated, mutated, st.builds(bytes.__add__, kinds, st.binary()))


def made(frames: list[bytes], count: int) -> list[bytes]:
    """So many frames, the same ones each time."""
    found: list[bytes] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(spoilt(frames))
    def collect(frame: bytes) -> None:
        found.append(frame)

    collect()
    # hypothesis leaves out what it has had.
    return [*found, *random.Random(1).choices(found, k=max(0, count - len(found)))]


def readable(content: bytes) -> bool:
    """Whether the protocol has such a message; what is in it is another question."""
    try:
        protocol.decode(content)
    except Malformed:
        return False
    return True


async def send_messages(url: str, frames: Iterator[bytes], closes: Counter[int]) -> None:
    """Send frames over one connection after the other; each lasts until it is closed."""
    for first in frames:
        async with websockets.connect(url, max_size=None, compression=None) as socket:
            content = first
            try:
                for content in chain([first], frames):
                    await socket.send(content)
                    if not readable(content):
                        while True:
                            await socket.recv()
                    await socket.send(EVERYTHING)
                    while (await socket.recv())[:2] != b"\0\1":
                        pass
            except websockets.ConnectionClosed:
                assert socket.close_code is not None
                closes[socket.close_code] += 1
                assert socket.close_code in (4400, 4401), (socket.close_code, content.hex())


WIRE: dict[str, tuple[bytes, int]] = {
    "a reserved opcode": (frame(0x3, b"x"), 1002),
    "a reserved control opcode": (frame(0xB, b"x"), 1002),
    "a reserved bit": (frame(0x2, b"x", reserved=0x40), 1002),
    "no mask": (frame(0x2, b"x", masked=False), 1002),
    "a ping in parts": (frame(0x9, b"x", final=False), 1002),
    "a long ping": (frame(0x9, b"x" * 126), 1002),
    "half a close code": (frame(0x8, b"\x03"), 1002),
    "a close code that is none": (frame(0x8, (999).to_bytes(2)), 1002),
    "a close code nobody sends": (frame(0x8, (1005).to_bytes(2)), 1002),
    "a reason that is no text": (frame(0x8, b"\x03\xe8\xff\xfe"), 1007),
    "a continuation of nothing": (frame(0x0, b"x"), 1002),
    "a message within a message": (frame(0x2, b"x", final=False) + frame(0x2, b"y"), 1002),
    "a text that is none": (frame(0x1, b"\xff\xfe"), 1007),
    "a text": (frame(0x1, b"hello"), 4400),
    "nothing": (frame(0x2, b""), 4400),
    "too much": (frame(0x2, b"", length=64 * 1024 * 1024), 1009),
    "more than there is": (frame(0x2, b"", length=2**62), 1009),
    "a length with its sign set": (frame(0x2, b"", length=2**63 + 1), 1009),
}
"""Bytes below the level of messages, and the code they are closed with (RFC 6455, 7.4.1)."""


async def send_wire(url: str, kinds: Iterator[str], closes: Counter[int]) -> None:
    """One connection each."""
    for kind in kinds:
        content, expected = WIRE[kind]
        async with RawSocket.opened(url) as socket:
            await socket.send(content)
            code = await socket.closed()
            assert code == expected, (kind, code)
            closes[code] += 1


def memory(stack: DevStack) -> dict[str, int]:
    """Bytes each process has to itself."""
    return {
        name: psutil.Process(stack.process(name).pid).memory_full_info().uss
        for name in ("gateway", "collab")
    }


async def test_spoilt_frames_harm_nobody(own_studio: Studio) -> None:
    """Proves R-SYNC-8, R-SYNC-12 and R-LIMIT-10: each by its code; people draw on, beside them and on the same canvas.

    Viewers send to the canvas that people draw on, where nothing of it may count; editors to one of their own.
    """
    studio, stack = own_studio, own_studio.stack
    painters = await Painters.gather(studio, 3, seed=7)
    viewer = await studio.user("viewer")
    await studio.owner.set_member(painters.canvas_id, viewer, "viewer")
    theirs = await studio.canvas("theirs")
    live = studio.api.live_url
    watching = f"{live}/{painters.canvas_id}?token={await studio.api.of(viewer).token()}"
    editing = f"{live}/{theirs}?token={await studio.owner.token()}"
    messages = made(await recorded(studio), FRAMES * 9 // 10)
    wire = random.Random(2).choices(list(WIRE), k=FRAMES // 10)
    processes = {each.name: each.pid for each in stack.processes}
    closes: Counter[int] = Counter()

    async def attack(share: slice) -> None:
        """The same twice; memory that is kept the first time round may be a cache."""
        some, kinds = iter(messages[share]), iter(wire[share])
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                url = editing if number % 2 else watching
                group.create_task(send_messages(url, some, closes))
            for url in (watching, editing):
                group.create_task(send_wire(url, kinds, closes))

    await attack(slice(0, None, 2))
    before = memory(stack)
    await attack(slice(1, None, 2))
    after = memory(stack)
    print(f"{FRAMES} frames, closed: {dict(closes)}; MiB: {before} {after}")
    assert all(after[name] - before[name] < GROWTH for name in before), (before, after)
    assert {each.name: each.pid for each in stack.processes} == processes
    # What else they drew is three clients' edits and nothing more.
    await painters.finish()
    for status in [await client.status() for client in painters.clients]:
        assert status.connections == 1
    for name in ("gateway", "collab"):
        log = stack.log_path(name).read_text(errors="replace")
        assert not [error for error in ERRORS if error in log], name
    # Nobody is left: the canvas of the attackers opens for whoever comes.
    late = await studio.join(theirs)
    await studio.driver.synced([late])


@pytest.mark.parametrize("kind", WIRE)
async def test_each_kind_is_closed_by_its_code(studio: Studio, canvas: str, kind: str) -> None:
    """Proves R-SYNC-8: by itself, so that a failure has a name."""
    url = f"{studio.api.live_url}/{canvas}?token={await studio.owner.token()}"
    await send_wire(url, iter([kind]), Counter())


async def test_handshakes_that_are_none(studio: Studio, canvas: str) -> None:
    """Proves R-HTTP-2: they are refused as requests, and the next is served."""
    url = f"{studio.api.live_url}/{canvas}?token={await studio.owner.token()}"
    for changed in (
        {"Sec-WebSocket-Version": "7"},
        {"Sec-WebSocket-Key": ""},
        {"Sec-WebSocket-Key": "short"},
        {"Upgrade": "h2c"},
        {"Connection": "close"},
    ):
        assert await RawSocket.refusal(url, changed) in (400, 404, 405, 426), changed
    async with RawSocket.opened(url) as socket:
        await socket.send(frame(0x8, (1000).to_bytes(2)))
        assert await socket.closed() == 1000


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Content-Length": "1"}, 400),
        ({"Transfer-Encoding": "chunked"}, 400),
        ({f"X-{number}": "x" for number in range(130)}, 431),
        ({"X-Long": "x" * 20_000}, 431),
    ],
)
async def test_handshakes_that_nobody_can_read(
    stack: DevStack, changed: dict[str, str], status: int
) -> None:
    """Proves R-HTTP-11: they are answered, and the connection ends; it stands in nobody's count."""
    url = f"{stack.url}/runtime/events/anything?"
    assert await RawSocket.refusal(url, changed, ends=True) == status
