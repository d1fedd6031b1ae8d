"""PostgreSQL goes and comes back; the service stays."""

import asyncio

import pytest

from svgx_common.contract.errors import Unavailable
from svgx_common.wire import Committed
from svgx_devstack import DevStack
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.service import Client, replica


async def test_while_postgresql_is_gone_callers_are_told_so(backing: DevStack, client: Client) -> None:
    """Proves R-STATE-18."""
    async with replica(backing) as health, asyncio.timeout(100):
        canvas_id = await client.create()
        pen = Pen(canvas_id, "holder")
        await client.append(pen.draw("before"))
        server = backing.process("postgres")
        server.restart = False
        try:
            server.kill()
            await server.wait_dead()
            entry = pen.draw("during")
            for call in (client.append(entry), client.load(canvas_id), client.create(), client.access(canvas_id)):
                with pytest.raises(Unavailable, match="database is not reachable"):
                    await call
            assert not (await health.report()).dependencies["postgresql"].ok
        finally:
            server.restart = True
            await server.start()
            await server.wait_ready()
        assert await client.append(entry) == [Committed(canvas_id, 2)]
        assert elements((await client.load(canvas_id)).updates) == {"before": "x", "during": "x"}
        assert (await health._report()).dependencies["postgresql"].ok


async def test_what_was_answered_survives_a_kill(backing: DevStack, client: Client) -> None:
    """Proves R-STATE-1, R-STATE-3. Holders repeat what was not answered; nothing is twice, nothing is missing."""
    async with replica(backing), replica(backing), asyncio.timeout(100):
        ids = [await client.create(str(number)) for number in range(4)]
        acknowledged: dict[str, list[int]] = {canvas_id: [] for canvas_id in ids}
        progress = asyncio.Event()

        async def hold(writer: str) -> None:
            pens = [Pen(canvas_id, writer) for canvas_id in ids]
            for number in range(120):
                group = [pen.draw(f"{writer} {number}") for pen in pens]
                while True:
                    try:
                        answers = await client.append(*group)
                        break
                    except Unavailable:
                        progress.set()
                for answer in answers:
                    acknowledged[answer.canvas_id].append(answer.revision)
                if number == 20:
                    progress.set()

        holders = [asyncio.create_task(hold(f"writer{number}")) for number in range(3)]
        server = backing.process("postgres")
        for _ in range(2):
            await progress.wait()
            server.kill()
            await server.wait_dead()
            progress.clear()
            await progress.wait()  # somebody was told
            await server.wait_ready()
            progress.clear()
            progress.set()
        await asyncio.gather(*holders)
        for canvas_id in ids:
            assert sorted(acknowledged[canvas_id]) == list(range(1, 361))
            content = await client.load(canvas_id)
            assert content.revision == 360
            assert len(elements(content.updates)) == 360
