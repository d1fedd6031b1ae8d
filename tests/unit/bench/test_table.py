"""The benchmark's table says for each goal whether the figures meet it."""

import math

import pytest

from bench.collab import table
from bench.collab.scenarios import HOCUSPOCUS, OURS, SCENARIOS, Goal, Kind


def test_names_of_scenarios_are_unique() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("goal", "ours", "peer", "expected"),
    [
        (Goal("f", "", 1.0, 0.7, Kind.RATIO), 60.0, 100.0, "aim met"),
        (Goal("f", "", 1.0, 0.7, Kind.RATIO), 100.0, 100.0, "bar met"),
        (Goal("f", "", 1.0, 0.7, Kind.RATIO), 101.0, 100.0, "**missed**"),
        (Goal("f", "", 1.0, 0.7, Kind.RATIO), 101.0, None, "not measured"),
        (Goal("f", "", 20.0, kind=Kind.EXCESS), 119.0, 100.0, "met"),
        (Goal("f", "", 3.0, 5.0, Kind.RATIO, at_least=True), 400.0, 100.0, "bar met"),
        (Goal("f", "", 3.0, 5.0, Kind.RATIO, at_least=True), 200.0, 100.0, "**missed**"),
        (Goal("f", "", 5.0), 5.0, None, "met"),
        (Goal("f", "", 5.0), math.inf, None, "**missed**"),
        (Goal("f", "", 20.0, kind=Kind.EXCESS), 20.0, math.inf, "not measured"),
        (Goal("f", "", 3.0, kind=Kind.RATIO, at_least=True), 100.0, 0.0, "not measured"),
        (Goal("f", "", 0.0), 0.0, None, "met"),
    ],
)
def test_goal_is_judged_by_bar_and_aim(
    goal: Goal, ours: float, peer: float | None, expected: str
) -> None:
    results = {OURS: {"f": ours}} | ({HOCUSPOCUS: {"f": peer}} if peer is not None else {})
    assert table.judge(goal, results)[-1] == expected


def test_table_lists_goals_that_were_not_measured() -> None:
    """The table has each goal of a chosen scenario, also after a failed measurement."""
    failures = {(SCENARIOS[0].name, OURS): "Refused: closed"}
    text = table.text({}, failures, SCENARIOS, {"Node": "v1"}, 0.1, quick=True)
    assert text.count("not measured") == sum(len(each.goals) for each in SCENARIOS)
    assert "Refused: closed" in text


def test_table_lists_settings_of_a_scenario() -> None:
    """The heading lists the settings that a chosen scenario adds to the common settings."""
    chosen = [each for each in SCENARIOS if each.name == "past-clients"]
    text = table.text({}, {}, chosen, {}, 0.1, quick=True)
    added = text.partition("a canvas with 50,000 past client ids: also ")[2]
    assert "`ACCOUNT_MAX_CLIENTS_PER_HOUR=1000000`" in added.partition("; in the attacks")[0]
