"""Malformed frames: mutations of frames that a real client sent, random bytes, and violations of RFC 6455.

Other clients edit at the same time and must not be affected. `make fuzz` sends 100,000 frames.
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

from svgx_common.contract.live.rejections import Reason, Rejection
from svgx_devstack import DevStack
from svgx_yjs import protocol
from svgx_yjs.lib0 import Malformed
from tests.e2e.clients.editor_group import EditorGroup
from tests.e2e.clients.raw_socket import RawSocket, encode_frame
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver

FRAMES = int(os.environ.get("SVGX_FUZZ_FRAMES", "1200"))
pytestmark = pytest.mark.timeout(120 + FRAMES // 20)

SENDERS = 16
"""Number of connections that send malformed messages at the same time."""

SYNC_STEP_1 = protocol.encode_sync_step_1(b"\0")
MAX_MEMORY_GROWTH = 100 * 1024 * 1024
"""Bytes by which a process may grow while the second half of the frames is sent."""

ERROR_MARKS = ("Traceback", '"level": "ERROR"', '"level": "CRITICAL"', "[error", "[critical")


@pytest.fixture(scope="module")
async def own_workspace(killed_stack: DevStack, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """Open a workspace on a stack without logged errors, because the test reads the stack's logs and memory."""
    async with open_workspace(killed_stack, driver) as workspace:
        yield workspace


@pytest.fixture
async def canvas(own_workspace: Workspace) -> str:
    """Create an empty canvas of the workspace's owner, and return its id."""
    return await own_workspace.create_canvas()


async def record_frames(workspace: Workspace) -> list[bytes]:
    """Return frames that a real client sends: sync messages, edits and awareness states."""
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
        client = await workspace.driver.connect(
            "recorded", f"ws://127.0.0.1:{port}", "canvas", awareness={"name": "recorded"}
        )
        await workspace.driver.start_random_edits([client], seed=1, rate=100)
        await enough.wait()
        await client.destroy()
    kinds = {frame[:2] for frame in frames}
    assert {bytes([0, 0]), bytes([0, 1]), bytes([0, 2])} <= kinds
    return frames


def malformed_frames(frames: list[bytes]) -> st.SearchStrategy[bytes]:
    """Return a strategy for mutated frames and random bytes."""

    def mutate(first: bytes, second: bytes, mutation: int, position: int, noise: bytes) -> bytes:
        at = position % (len(first) + 1)
        before, after = first[:at], first[at:]
        flipped = bytearray(first)
        for number, byte in enumerate(noise):
            flipped[(at + number * 7) % len(flipped)] ^= byte
        mutations = (
            before,
            before + noise + after,
            before + second[at:],
            before + noise + after[len(noise) :],
            before + b"\xff" * 9 + after,
            first + second,
            bytes(flipped),
            noise[:2] + first[2:],
        )
        return mutations[mutation]

    original = st.sampled_from(frames)
    noise = st.binary(min_size=1, max_size=24)
    mutated = st.builds(mutate, original, original, st.integers(0, 7), st.integers(0, 4096), noise)
    kinds = st.sampled_from([b"", b"\0\0", b"\0\1", b"\0\2", b"\1", b"\2", b"\3", b"\x64", b"\x65"])
    return st.one_of(mutated, mutated, mutated, st.builds(bytes.__add__, kinds, st.binary()))


def generate(frames: list[bytes], count: int) -> list[bytes]:
    """Return `count` mutated or random frames, some of which may be valid. The same arguments give the same frames."""
    generated: list[bytes] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(malformed_frames(frames))
    def collect(frame: bytes) -> None:
        generated.append(frame)

    collect()
    # Hypothesis skips duplicates, so it may generate fewer frames than `count`.
    missing = max(0, count - len(generated))
    return [*generated, *random.Random(1).choices(generated, k=missing)]


def is_message(content: bytes) -> bool:
    """Return whether the bytes are a message of the protocol. Its update or awareness states may still be malformed."""
    try:
        protocol.decode(content)
    except Malformed:
        return False
    return True


async def send_messages(url: str, frames: Iterator[bytes], closes: Counter[int]) -> None:
    """Send frames until the shared iterator ends. Open a new connection after each close, and count the close codes."""
    for first in frames:
        async with websockets.connect(url, max_size=None, compression=None) as socket:
            content = first
            try:
                for content in chain([first], frames):
                    await socket.send(content)
                    if not is_message(content):
                        while True:
                            await socket.recv()
                    await socket.send(SYNC_STEP_1)
                    while (await socket.recv())[:2] != b"\0\1":
                        pass
            except websockets.ConnectionClosed:
                assert socket.close_code is not None
                closes[socket.close_code] += 1
                # The code is 4401 if a frame happens to be a token message, because the token is not valid. The code
                # is 1013 if an edit waits for a missing edit, and another edit has different bytes for the same clocks.
                is_contradiction = (socket.close_code, socket.close_reason) == CONTRADICTION
                assert is_contradiction or socket.close_code in (4400, 4401), (
                    socket.close_code,
                    socket.close_reason,
                    content.hex(),
                )


CONTRADICTION = 1013, Rejection(0, Reason.CONTRADICTION, 0).text
"""The close code and reason of an edit that contradicts another one."""

RFC_VIOLATIONS: dict[str, tuple[bytes, int]] = {
    "a reserved opcode": (encode_frame(0x3, b"x"), 1002),
    "a reserved control opcode": (encode_frame(0xB, b"x"), 1002),
    "a reserved bit": (encode_frame(0x2, b"x", reserved=0x40), 1002),
    "no mask": (encode_frame(0x2, b"x", masked=False), 1002),
    "a fragmented ping": (encode_frame(0x9, b"x", final=False), 1002),
    "a long ping": (encode_frame(0x9, b"x" * 126), 1002),
    "half a close code": (encode_frame(0x8, b"\x03"), 1002),
    "an invalid close code": (encode_frame(0x8, (999).to_bytes(2)), 1002),
    "a reserved close code": (encode_frame(0x8, (1005).to_bytes(2)), 1002),
    "a reason that is not UTF-8": (encode_frame(0x8, b"\x03\xe8\xff\xfe"), 1007),
    "a continuation without a start": (encode_frame(0x0, b"x"), 1002),
    "a message between fragments": (
        encode_frame(0x2, b"x", final=False) + encode_frame(0x2, b"y"),
        1002,
    ),
    "a text that is not UTF-8": (encode_frame(0x1, b"\xff\xfe"), 1007),
    "a text message": (encode_frame(0x1, b"hello"), 4400),
    "an empty message": (encode_frame(0x2, b""), 4400),
    "a length above the limit": (encode_frame(0x2, b"", length=64 * 1024 * 1024), 4413),
    "a length above any memory": (encode_frame(0x2, b"", length=2**62), 4413),
    "a length with the highest bit set": (encode_frame(0x2, b"", length=2**63 + 1), 4413),
}
"""The content and the expected close code of each violation.

The code is one of RFC 6455 (7.4.1), 4400 for a violation of our protocol, or 4413 for a length above the limit.
"""


async def send_rfc_violations(url: str, kinds: Iterator[str], closes: Counter[int]) -> None:
    """Send the violation of each kind on its own connection, check the close code, and count it."""
    for kind in kinds:
        content, expected = RFC_VIOLATIONS[kind]
        async with RawSocket.connect(url) as socket:
            await socket.send(content)
            code = await socket.wait_closed()
            assert code == expected, (kind, code)
            closes[code] += 1


def private_memory(stack: DevStack) -> dict[str, int]:
    """Return the private memory of the gateway and of collab (USS), in bytes."""
    return {
        name: psutil.Process(stack.process(name).pid).memory_full_info().uss
        for name in ("gateway", "collab")
    }


async def test_malformed_frames_close_their_sender_and_affect_no_other_client(
    own_workspace: Workspace,
) -> None:
    """Each malformed frame closes its connection with the right code, and other clients lose no edit.

    Half of the senders are viewers of the canvas that the other clients edit. The other half are editors of a canvas
    that only the senders use.
    Proves R-SYNC-8 and R-SYNC-12.
    """
    workspace, stack = own_workspace, own_workspace.stack
    editors = await EditorGroup.start(workspace, 3, seed=7)
    viewer = await workspace.create_user("viewer")
    await workspace.owner.set_member(editors.canvas_id, viewer, "viewer")
    attacked = await workspace.create_canvas("attacked")
    base = workspace.api.websocket_url
    viewer_url = (
        f"{base}/{editors.canvas_id}?token={await workspace.api.session_of(viewer).access_token()}"
    )
    editor_url = f"{base}/{attacked}?token={await workspace.owner.access_token()}"
    messages = generate(await record_frames(workspace), FRAMES * 9 // 10)
    violations = random.Random(2).choices(list(RFC_VIOLATIONS), k=FRAMES // 10)
    processes = {each.name: each.pid for each in stack.processes}
    closes: Counter[int] = Counter()

    async def attack(share: slice) -> None:
        """Send a share of all frames."""
        frames, kinds = iter(messages[share]), iter(violations[share])
        async with asyncio.TaskGroup() as group:
            for number in range(SENDERS):
                url = editor_url if number % 2 else viewer_url
                group.create_task(send_messages(url, frames, closes))
            for url in (viewer_url, editor_url):
                group.create_task(send_rfc_violations(url, kinds, closes))

    # Memory that the first half of the frames leaves in use may be a cache, so only growth in the second half counts.
    await attack(slice(0, None, 2))
    before = private_memory(stack)
    await attack(slice(1, None, 2))
    after = private_memory(stack)
    print(f"{FRAMES} frames, closed: {dict(closes)}; MiB: {before} {after}")
    assert all(after[name] - before[name] < MAX_MEMORY_GROWTH for name in before), (before, after)
    assert {each.name: each.pid for each in stack.processes} == processes
    # The canvas has all edits of the three clients.
    await editors.stop_and_verify()
    for status in [await client.status() for client in editors.clients]:
        assert status.connections == 1
    for name in ("gateway", "collab"):
        log = stack.log_path(name).read_text(errors="replace")
        assert not [error for error in ERROR_MARKS if error in log], name
    # The canvas that only the senders used still opens.
    newcomer = await workspace.connect(attacked)
    await workspace.driver.wait_synced([newcomer])


@pytest.mark.parametrize("kind", RFC_VIOLATIONS)
async def test_rfc_violation_closes_the_socket_with_its_code(
    own_workspace: Workspace, canvas: str, kind: str
) -> None:
    """Each violation is a separate test, so that a failed test names the violation. Proves R-SYNC-8."""
    token = await own_workspace.owner.access_token()
    url = f"{own_workspace.api.websocket_url}/{canvas}?token={token}"
    await send_rfc_violations(url, iter([kind]), Counter())


async def test_invalid_handshake_is_refused_and_the_next_is_served(
    own_workspace: Workspace, canvas: str
) -> None:
    """The refusal is an HTTP response with an error status. Proves R-HTTP-11."""
    token = await own_workspace.owner.access_token()
    url = f"{own_workspace.api.websocket_url}/{canvas}?token={token}"
    for changed in (
        {"Sec-WebSocket-Version": "7"},
        {"Sec-WebSocket-Key": ""},
        {"Sec-WebSocket-Key": "short"},
        {"Upgrade": "h2c"},
        {"Connection": "close"},
    ):
        assert await RawSocket.handshake_status(url, changed) in (400, 404, 405, 426), changed
    async with RawSocket.connect(url) as socket:
        await socket.send(encode_frame(0x8, (1000).to_bytes(2)))
        assert await socket.wait_closed() == 1000


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Content-Length": "1"}, 400),
        ({"Transfer-Encoding": "chunked"}, 400),
        ({f"X-{number}": "x" for number in range(130)}, 431),
        ({"X-Long": "x" * 20_000}, 431),
    ],
)
async def test_unreadable_handshake_is_answered_and_the_connection_closed(
    killed_stack: DevStack, changed: dict[str, str], status: int
) -> None:
    """A handshake with a body or with too many or too large headers is refused. Proves R-HTTP-11."""
    url = f"{killed_stack.url}/runtime/events/anything?"
    assert await RawSocket.handshake_status(url, changed, until_closed=True) == status
