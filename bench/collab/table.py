"""The result as Markdown tables, and their place in README.md."""

import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.collab.load import Figures
from bench.collab.scenarios import SCENARIOS, Goal, Results, Scenario
from bench.collab.servers.stack import SETTINGS

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"

_PACKAGES = ("pycrdt", "nats-py", "uvicorn", "uvloop", "websockets", "asyncpg")
_LOAD_COLUMNS = {
    "cpu_us": ("CPU µs", 1),
    "p50": ("p50 ms", 1),
    "p95": ("p95 ms", 1),
    "p99": ("p99 ms", 1),
    "share": ("in time", 3),
    "saved_p50": ("saved p50 ms", 1),
    "saved_p95": ("saved p95 ms", 1),
    "server_cores": ("server cores", 2),
    "generator_cores": ("generator cores", 2),
    "generator_delay": ("generator late ms", 0),
    "missing": ("last values missing", 0),
}
"""The columns of the table of loads: title and decimals of each figure."""

_NOT_SHOWN = {
    "offered_cpu_us",
    "delivered_per_cpu_second",
    "frames",
    "closed",
    "saved_p99",
    "saved_share",
}
"""Figures of a load that the table of further figures omits, because a goal shows them or they are of no interest."""


def text(
    results: Mapping[str, Results],
    failures: Mapping[tuple[str, str], str],
    chosen: Sequence[Scenario],
    versions: Mapping[str, str],
    load_average: float,
    *,
    quick: bool,
) -> str:
    """Return the heading, the tables and the failed measurements of a run as Markdown.

    `results`: the figures by scenario and server. `failures`: the reason of each failed measurement, by scenario and
    server. `chosen`: the scenarios of the run. `versions`: the versions of the peers. `load_average`: the
    load of the machine before the run. `quick`: whether the run was short and small.
    """
    parts = [
        _heading(chosen, versions, load_average, quick),
        _goals(results, chosen),
        _loads(results),
        _others(results),
    ]
    if failures:
        lines = [f"- {name}, {server}: {reason}" for (name, server), reason in failures.items()]
        parts.append("Failed measurements:\n\n" + "\n".join(lines))
    return "\n\n".join(part for part in parts if part)


def store(table: str) -> None:
    """Replace the stored tables in README.md."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def _heading(
    chosen: Sequence[Scenario], versions: Mapping[str, str], load_average: float, quick: bool
) -> str:
    packages = {name: version(name) for name in _PACKAGES}
    names = ", ".join(f"{name} {number}" for name, number in {**versions, **packages}.items())
    settings = "; ".join([_list(SETTINGS.items()), *_further_settings(chosen)])
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {_processor()}, {os.cpu_count()} cores, {system}.",
        f"Load average before the run: {load_average:.1f}.",
        f"Versions: {names}.",
        f"Our settings: {settings}; in the attacks, the defaults.",
    ]
    if quick:
        lines.append("**Short and small (`QUICK=1`): the goals are an indication only.**")
    return "\n".join(lines)


def _further_settings(chosen: Sequence[Scenario]) -> list[str]:
    """Return a line for each scenario with settings of its own: its title, and the settings beyond the common ones."""
    return [
        f"{scenario.title}: also {_list(further)}"
        for scenario in chosen
        if (further := sorted(scenario.settings.items() - SETTINGS.items()))
    ]


def _list(settings: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in settings)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _goals(results: Mapping[str, Results], chosen: Sequence[Scenario]) -> str:
    rows = [
        (scenario.title, goal.title, *judge(goal, results.get(scenario.name, {})))
        for scenario in chosen
        for goal in scenario.goals
    ]
    return _table(("scenario", "figure", "value", "bar", "aim", "result"), rows)


def judge(goal: Goal, results: Results) -> tuple[str, str, str, str]:
    """Return the value, the bar, the aim and the result of a goal."""
    sign = "≥" if goal.at_least else "≤"
    bar = f"{sign} {goal.bar:g}"
    aim = "" if goal.aim is None else f"{sign} {goal.aim:g}"
    value = goal.value(results)
    if value is None:
        return "–", bar, aim, "not measured"
    result = "**missed**"
    if goal.keeps(value, goal.bar):
        result = "bar met" if goal.aim is not None else "met"
        if goal.aim is not None and goal.keeps(value, goal.aim):
            result = "aim met"
    return _number(value), bar, aim, result


def _loads(results: Mapping[str, Results]) -> str:
    rows = [
        (
            scenario.title,
            server,
            *(
                _decimal(figures[name], decimals) if name in figures else ""
                for name, (_, decimals) in _LOAD_COLUMNS.items()
            ),
        )
        for scenario, server, figures in _measured(results)
        if "cpu_us" in figures
    ]
    titles = [title for title, _ in _LOAD_COLUMNS.values()]
    return _table(("scenario", "server", *titles), rows)


def _others(results: Mapping[str, Results]) -> str:
    """Return the table of further figures, one row for each measurement.

    For a load, the table omits the figures of `_LOAD_COLUMNS` and `_NOT_SHOWN`.
    """
    rows = []
    for scenario, server, figures in _measured(results):
        others = {
            name: value
            for name, value in figures.items()
            if "cpu_us" not in figures or (name not in _LOAD_COLUMNS and name not in _NOT_SHOWN)
        }
        if others:
            cells = ", ".join(f"{name} {_number(value)}" for name, value in others.items())
            rows.append((scenario.title, server, cells))
    return _table(("scenario", "server", "further figures"), rows)


def _measured(results: Mapping[str, Results]) -> Sequence[tuple[Scenario, str, Figures]]:
    return [
        (scenario, server, figures)
        for scenario in SCENARIOS
        for server, figures in results.get(scenario.name, {}).items()
    ]


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _decimal(value: float, decimals: int) -> str:
    return "∞" if math.isinf(value) else f"{value:,.{decimals}f}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
