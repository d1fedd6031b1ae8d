"""Measure live editing on our stack and on its peers: `python -m bench.collab [--quick] [--store] [SCENARIO ...]`."""

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager

from bench.collab import table
from bench.collab.load import Figures, wait_until_idle
from bench.collab.scenarios import HOCUSPOCUS, OURS, SCENARIOS, TWO_NODES, Scenario
from bench.collab.servers import Server
from bench.collab.servers.hocuspocus import one_node, two_nodes, versions
from bench.collab.servers.stack import stack_server
from bench.collab.sockets import Clients

_SERVERS: Mapping[str, Callable[[], AbstractAsyncContextManager[Server]]] = {
    HOCUSPOCUS: one_node,
    TWO_NODES: two_nodes,
    OURS: stack_server,
}
"""The servers, in the order in which they run."""

_SETTLE_SECONDS = 30.0
"""The longest wait for a server to become idle, in seconds. The next scenario then begins anyway."""

_VERSION_SECONDS = 65.0
"""Seconds after the last edit until our stack has begun to make automatic versions (`VERSION_QUIET_SECONDS` is 60)."""


class Run:
    """One run of scenarios on servers, with the results and failures so far."""

    def __init__(self, *, quick: bool) -> None:
        self.results: dict[str, dict[str, Figures]] = {}
        self.failures: dict[tuple[str, str], str] = {}
        self._quick = quick

    async def measure_all(self, chosen: list[Scenario]) -> None:
        """Measure the scenarios on each server in turn. A failed measurement does not stop the run."""
        for name, start in _SERVERS.items():
            shared = [each for each in chosen if name in each.servers and not each.alone]
            with self._store_failures(shared, name):
                if shared:
                    async with start() as server:
                        for scenario in shared:
                            await self._measure(scenario, server)
        for scenario in chosen:
            if scenario.alone:
                for name in scenario.servers:
                    with self._store_failures([scenario], name):
                        await self._measure_alone(scenario, name)

    @contextlib.contextmanager
    def _store_failures(self, scenarios: list[Scenario], server: str) -> Iterator[None]:
        """Store an error of the block, such as a failed start of the server, for each scenario without a result."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            for scenario in scenarios:
                if server not in self.results.get(scenario.name, {}):
                    self.failures.setdefault((scenario.name, server), _one_line(error))
            print_line(f"{server}: {_one_line(error)}")

    async def _measure_alone(self, scenario: Scenario, name: str) -> None:
        """Measure a scenario on a server that is started for this scenario only."""
        if name != OURS:
            async with _SERVERS[name]() as peer:
                await self._measure(scenario, peer)
            return
        async with stack_server(scenario.settings) as ours:
            await self._measure(scenario, ours)
            # Kill the stack, because a normal stop may wait for unfinished work of the scenario.
            ours.stack.kill()

    async def _measure(self, scenario: Scenario, server: Server) -> None:
        start = time.monotonic()
        figures: Figures | None = None
        try:
            figures = await asyncio.to_thread(scenario.run, server, self._quick)
        except Exception as error:  # noqa: BLE001
            self.failures[scenario.name, server.name] = _one_line(error)
        else:
            self.results.setdefault(scenario.name, {})[server.name] = figures
        if scenario.edits_many_canvases and server.name == OURS and not self._quick:
            await asyncio.sleep(_VERSION_SECONDS)
        await self._settle(server)
        outcome = self._summary(scenario, server, figures)
        print_line(
            f"{scenario.name:20} {server.name:28} {time.monotonic() - start:5.1f} s  {outcome}"
        )

    async def _settle(self, server: Server) -> None:
        """Wait until the server is idle, because the scenario may have left it with unfinished work."""
        with Clients() as no_clients:
            await asyncio.to_thread(wait_until_idle, no_clients, server, _SETTLE_SECONDS)

    def _summary(self, scenario: Scenario, server: Server, figures: Figures | None) -> str:
        if figures is None:
            return self.failures[scenario.name, server.name]
        names = dict.fromkeys(["cpu_us", "p95", *(goal.figure for goal in scenario.goals)])
        return ", ".join(f"{name} {figures[name]:.4g}" for name in names if name in figures)


def _one_line(error: Exception) -> str:
    """Return the type and text of an error as one line of at most 300 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def print_line(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the benchmark and print its tables. Store the tables after a full run, or with `--store`."""
    parser = argparse.ArgumentParser(prog="python -m bench.collab", description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(names))
    parser.add_argument(
        "--quick", action="store_true", help="shorten the measurements, and use less data in some"
    )
    parser.add_argument("--store", action="store_true", help="store the tables in README.md")
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(names):
        parser.error(f"unknown scenarios: {', '.join(sorted(unknown))}")
    chosen = [each for each in SCENARIOS if each.name in (options.scenarios or names)]
    logging.disable(logging.INFO)
    run = Run(quick=options.quick)
    peers, load_average = versions(), os.getloadavg()[0]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run.measure_all(chosen))
    tables = table.text(run.results, run.failures, chosen, peers, load_average, quick=options.quick)
    print_line("\n" + tables)
    if options.store or not (options.quick or options.scenarios):
        table.store(tables)


if __name__ == "__main__":
    main()
