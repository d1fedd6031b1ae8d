"""Measure the storage of the state service: `python -m bench.state`. The tables go to bench/state/README.md."""

import argparse
import asyncio
import os
import platform
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import structlog

from bench.state import appends, backups, opening, storage
from bench.state.tables import Report
from svgx_devstack import DevStack

README = Path(__file__).parent / "README.md"
START = "<!-- results of `make bench-state` -->\n"

EDITS = 1_000_000

Part = Callable[[DevStack], Awaitable[Report]]


def parts(edits: int, megabytes: int) -> Mapping[str, Part]:
    """Return the measurements by name."""
    return {
        "storage": storage.measure,
        "appends": appends.measure,
        "sizes": opening.measure_sizes,
        "edits": lambda stack: opening.measure_edits(stack, edits),
        "backups": lambda stack: backups.measure(stack, megabytes),
    }


async def measure(chosen: Mapping[str, Part]) -> list[Report]:
    """Run the measurements one after the other on one PostgreSQL."""
    with tempfile.TemporaryDirectory() as folder:
        stack = DevStack(Path(folder))
        await stack.up(backing_only=True)
        try:
            reports = []
            for part in chosen.values():
                reports.append(await part(stack))
                print(reports[-1].markdown(), flush=True)
            return reports
        finally:
            await stack.down()


def main() -> None:
    """Run all measurements, or one, and store the tables."""
    parser = argparse.ArgumentParser("python -m bench.state", description=__doc__)
    parser.add_argument("part", nargs="?", choices=list(parts(0, 0)), help="measure this part only")
    parser.add_argument(
        "--edits", type=int, default=EDITS, help="number of edits in the part `edits`"
    )
    megabytes = "size of the journal in the part `backups`"
    parser.add_argument("--megabytes", type=int, default=backups.MEGABYTES, help=megabytes)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    chosen = parts(arguments.edits, arguments.megabytes)
    if arguments.part:
        chosen = {arguments.part: chosen[arguments.part]}
    store(asyncio.run(measure(chosen)))


def store(reports: list[Report]) -> None:
    """Store the tables in the README, in place of the tables with the same titles."""
    text, _, stored = README.read_text(encoding="utf-8").partition(START)
    titles = [report.title for report in reports]
    _, *sections = f"\n{stored}".split("\n## ")
    kept = [f"## {each.strip()}\n" for each in sections if each.partition("\n")[0] not in titles]
    machine = (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL of the devstack.\n"
    )
    tables = "\n".join([machine, *kept, *(report.markdown() for report in reports)])
    README.write_text(f"{text}{START}{tables}", encoding="utf-8")


if __name__ == "__main__":
    main()
