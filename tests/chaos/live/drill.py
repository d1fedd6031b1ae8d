"""A live drill: editors write while parts of the system fail. At the end, no saved edit may be missing."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from tests.chaos.live import canvases
from tests.chaos.live.canvases import DrillCanvas
from tests.chaos.live.figures import Figures
from tests.chaos.live.light_editor import LightEditor
from tests.chaos.live.nats_proxy import NatsProxy
from tests.chaos.live.plan import Event, Kind, Victims, draw
from tests.e2e.clients.workspace import Workspace
from tests.polling import pause

RECOVERY_SECONDS = 90.0
"""Seconds after the last edit within which all edits must be saved. A gateway resends a batch for 60 s."""

_PASTES, _PASTE_BYTES = 40, 80_000
"""While one editor does not read, another editor makes `_PASTES` edits of `_PASTE_BYTES` bytes each.

Together, the edits exceed the buffers of the kernel.
"""

_FIRST_TERMINAL_CODE = 4000
"""Close codes from this number on report a client's mistake or missing access. Failures have lower codes."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a drill. `rate` is the number of edits that each editor makes in a second.

    `gaps` are the shortest and the longest time between two events, in seconds.

    With `power_cuts`, some events kill all processes at once. The processes then start again.
    """

    editors: int
    seconds: float
    rate: float
    gaps: tuple[float, float]
    power_cuts: bool = True


class LiveDrill:
    """One drill on a running stack. `proxies` maps the name of a process to the proxy between this process and NATS."""

    def __init__(
        self, workspace: Workspace, proxies: Mapping[str, NatsProxy], seed: int, size: Size
    ) -> None:
        self._workspace = workspace
        self._stack = workspace.stack
        self._proxies = proxies
        self._size = size
        self._seed = seed
        self._random = random.Random(f"clients of {seed}")
        self._canvases: list[DrillCanvas] = []
        self._addresses: Sequence[str] = ()
        self._started = 0.0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, workspace: Workspace, proxies: Mapping[str, NatsProxy], seed: int, size: Size
    ) -> AsyncIterator["LiveDrill"]:
        """Connect all editors to new canvases. Disconnect all clients at the end of the block."""
        drill = cls(workspace, proxies, seed, size)
        try:
            await drill._connect()
            yield drill
        finally:
            await drill._disconnect()

    async def run(self) -> Sequence[Event]:
        """Let the editors write, and carry out the events of the seed's plan. Return these events."""
        names = [each.name for each in self._stack.processes]
        numbers = [str(number) for number in range(len(self._canvases))]
        victims = Victims(
            services=[each for each in names if each.startswith(("gateway", "collab", "state"))],
            links=sorted(self._proxies),
            canvases=numbers,
            without_yjs_clients=[
                each for each in numbers if self._has_light_editors_only(int(each))
            ],
            power_cuts=self._size.power_cuts,
        )
        plan = draw(self._seed, self._size.seconds, self._size.gaps, victims)
        for canvas in self._canvases:
            for editor in canvas.editors:
                editor.start()
            await self._workspace.driver.start_random_edits(
                canvas.clients, seed=self._seed, rate=self._size.rate
            )
        started = self._started = time.monotonic()
        async with asyncio.TaskGroup() as effects:
            for event in plan:
                await _sleep_until(started + event.at)
                print(f"  {event}", flush=True)
                effects.create_task(self._carry_out(event))
            await _sleep_until(started + self._size.seconds)
        processes = self._stack.processes
        await asyncio.gather(*(process.wait_ready(RECOVERY_SECONDS) for process in processes))
        return plan

    async def check(self, plan: Sequence[Event]) -> Figures:
        """Stop the edits. Check that all edits are saved, no saved edit is lost, and all documents are equal.

        Check also that no light editor got a close code that reports a client's mistake or missing access.
        """
        driver = self._workspace.driver
        began = time.monotonic()
        clients = [client for canvas in self._canvases for client in canvas.clients]
        await driver.stop_random_edits(clients)
        editors = [editor for canvas in self._canvases for editor in canvas.editors]
        for editor in editors:
            editor.stop()
        await _until_saved(editors)
        await driver.wait_saved(clients, timeout=RECOVERY_SECONDS)
        recovery = time.monotonic() - began
        lost: list[str] = []
        for canvas in self._canvases:
            exported = await self._workspace.owner.export(canvas.id, "yjs")
            lost += canvases.lost(canvas, exported)
        present_and_vanished = [
            editor for canvas in self._canvases for editor in canvas.present_and_vanished
        ]
        statuses = [await client.status() for client in clients]
        yjs_edits = sum(status.edits for status in statuses)
        slowest = max(present_and_vanished, key=lambda editor: editor.longest_unsaved)
        figures = Figures(
            seed=self._seed,
            editors=len(editors) + len(clients),
            events=len(plan),
            edits=sum(editor.made for editor in present_and_vanished) + yjs_edits,
            saved=sum(editor.saved for editor in present_and_vanished) + yjs_edits,
            vanished=len(present_and_vanished) - len(editors),
            lost=len(lost),
            longest_offline=max(
                *(editor.longest_offline for editor in present_and_vanished),
                *(status.longest_pause / 1000 for status in statuses),
            ),
            longest_unsaved=slowest.longest_unsaved,
            unsaved_since=slowest.unsaved_since - self._started,
            recovery=recovery,
            closes=sum((editor.closes for editor in present_and_vanished), Counter()),
        )
        print(f"  {figures}", flush=True)
        terminal = [code for code in figures.closes if code >= _FIRST_TERMINAL_CODE]
        assert not terminal, f"the server refused correct clients: {terminal}"
        assert not lost, f"{len(lost)} saved edits are missing: {', '.join(lost[:20])}"
        for canvas in self._canvases:
            await canvases.check_equal(self._workspace, canvas)
        return figures

    async def delete_canvases(self) -> None:
        """Disconnect all clients, and delete the canvases, so that no process keeps them in memory."""
        await self._disconnect()
        for canvas in self._canvases:
            await self._workspace.owner.delete_canvas(canvas.id)

    async def _connect(self) -> None:
        token = await self._workspace.owner.access_token()
        self._addresses = [
            f"ws://127.0.0.1:{self._stack.port(each.name)}/runtime/events/{{canvas}}?saved=1&token={token}"
            for each in self._stack.processes
            if each.name.startswith("gateway")
        ]
        for number, (light, yjs_clients) in enumerate(canvases.split(self._size.editors)):
            canvas_id = await self._workspace.create_canvas(f"Drill {self._seed}, {number}")
            clients = await self._workspace.connect_many(canvas_id, yjs_clients)
            canvas = DrillCanvas(canvas_id, clients)
            self._canvases.append(canvas)
            editors = [self._join(canvas) for _ in range(light)]
            async with asyncio.timeout(RECOVERY_SECONDS):
                await asyncio.gather(*(editor.synced.wait() for editor in editors))

    async def _disconnect(self) -> None:
        await asyncio.gather(
            *(editor.close() for canvas in self._canvases for editor in canvas.present_and_vanished)
        )
        await self._workspace.destroy_all()

    def _join(self, canvas: DrillCanvas) -> LightEditor:
        return canvas.join(self._addresses, self._random.randrange(2**32), self._size.rate)

    def _has_light_editors_only(self, number: int) -> bool:
        """Return whether a canvas has no Yjs client, so that it has no client when all light editors vanish."""
        return not self._canvases[number].clients

    async def _carry_out(self, event: Event) -> None:
        match event.kind:
            case Kind.KILL:
                self._stack.process(event.victim).kill()
            case Kind.STOP:
                process = self._stack.process(event.victim)
                await process.stop()
                await process.start()
            case Kind.FREEZE:
                process = self._stack.process(event.victim)
                process.pause()
                try:
                    await asyncio.sleep(event.seconds)
                finally:
                    process.resume()
            case Kind.FLUSH:
                async with Redis.from_url(self._stack.redis_url) as redis:
                    await redis.flushall()
            case Kind.CUT:
                await self._proxies[event.victim].cut(event.seconds)
            case Kind.MUTE:
                await self._proxies[event.victim].mute(event.seconds)
            case Kind.POWER_CUT:
                self._cut_power()
            case _:
                await self._carry_out_client_event(event, self._canvases[int(event.victim)])

    async def _carry_out_client_event(self, event: Event, canvas: DrillCanvas) -> None:
        if event.kind is Kind.STALL:
            stalled, busy = (canvas.editors * 2)[:2]
            stall = asyncio.create_task(stalled.stall(event.seconds))
            for _ in range(_PASTES):
                with contextlib.suppress(Exception):
                    await busy.edit(_PASTE_BYTES)
                await asyncio.sleep(0)
            await stall
            return
        if event.kind is Kind.ABANDON:
            self._vanish(canvas, canvas.editors)
            return
        leaving = self._random.sample(canvas.editors, min(event.count, len(canvas.editors)))
        silent = [editor for editor in leaving if self._random.random() < 0.5]
        for editor in silent:
            editor.fall_silent()
        self._vanish(canvas, leaving)

    def _vanish(self, canvas: DrillCanvas, leaving: Sequence[LightEditor]) -> None:
        """Replace each editor of `leaving` by a new editor.

        Break the connections of the replaced editors. The connections of silent editors stay open and unread.
        """
        for editor in tuple(leaving):
            if not editor.is_silent:
                editor.vanish()
            canvas.leave(editor)
            self._join(canvas).start()

    def _cut_power(self) -> None:
        for process in self._stack.processes:
            process.kill()
        for number, canvas in enumerate(self._canvases):
            if self._has_light_editors_only(number):
                self._vanish(canvas, canvas.editors)


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


async def _until_saved(editors: Sequence[LightEditor]) -> None:
    try:
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not all(editor.is_saved for editor in editors):
                await pause()
    except TimeoutError:
        unsaved = [
            f"{each.name}: {each.saved} of {each.made}" for each in editors if not each.is_saved
        ]
        raise AssertionError(f"not saved: {'; '.join(unsaved)}") from None
