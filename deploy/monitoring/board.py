"""A dashboard as data, and its JSON for Grafana.

In a query, `{NS` stands for the selector of the namespace, and `[RATE]` for the window of rates.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

NAMESPACE = 'namespace=~"$namespace"'
RATE = "$__rate_interval"
WIDTH = 24
"""Columns of a dashboard."""

TAG = "svgx"


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel. `queries` are pairs of an expression and the name of its series.

    `limit`: the value from which the panel is red, or None. `stat`: the panel shows the newest value only. `exemplars`:
    the panel shows links to traces, for queries of histograms.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[tuple[str, str]]
    limit: float | None = None
    stat: bool = False
    exemplars: bool = False
    red_below: bool = False
    """Whether the panel is red below the limit instead of above it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A titled row of panels, with at most four side by side."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard. `name` is the name of its file and its address in Grafana."""

    name: str
    title: str
    description: str
    rows: Sequence[Row]


def expression(text: str) -> str:
    """Return a query with the placeholders replaced."""
    return text.replace("{NS", f"{{{NAMESPACE}").replace("[RATE]", f"[{RATE}]")


def as_json(board: Board) -> str:
    """Return the dashboard's JSON."""
    built = (
        builders.Dashboard(board.title)
        .uid(board.name)
        .description(board.description)
        .tags([TAG])
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .readonly()
        .link(
            builders.DashboardLink("SVGX")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(
            builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(
            builders.QueryVariable("namespace")
            .label("Namespace")
            .datasource(_datasource())
            .query("label_values(svgx_engine_build_info, namespace)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            # Targets of docker-compose have no namespace. This pattern matches them too.
            .all_value(".*")
        )
    )
    numbers = itertools.count(1)
    for row in board.rows:
        built = built.with_row(builders.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            width = WIDTH // min(len(row.panels), 4)
            built = built.with_panel(_panel(panel, width).id(next(numbers)))
    return json.dumps(built.build(), cls=JSONEncoder, sort_keys=True, indent=1) + "\n"


def _panel(panel: Panel, width: int) -> timeseries.Panel | stat.Panel:
    """Return the builder of a panel with this width in columns."""
    built = stat.Panel() if panel.stat else timeseries.Panel()
    built = (
        built.title(panel.title)
        .description(panel.description)
        .datasource(_datasource())
        .unit(panel.unit)
        .height(4 if panel.stat else 8)
        .span(width)
        .thresholds(_thresholds(panel))
    )
    if isinstance(built, stat.Panel):
        built = built.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    else:
        tooltip = common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
        built = built.min(0).fill_opacity(8).tooltip(tooltip)
        if panel.limit is not None:
            style = common_builders.GraphThresholdsStyleConfig()
            built = built.thresholds_style(style.mode(common.GraphTresholdsStyleMode.DASHED))
    for number, (query, legend) in enumerate(panel.queries):
        target = (
            prometheus.Dataquery()
            .expr(expression(query))
            .legend_format(legend)
            .ref_id(chr(ord("A") + number))
            .exemplar(panel.exemplars)
        )
        built = built.with_target(target.instant() if panel.stat else target.range())
    return built


def _thresholds(panel: Panel) -> builders.ThresholdsConfig:
    colors = ("red", "green") if panel.red_below else ("green", "red")
    steps = [Threshold(value=None, color=colors[0] if panel.limit is not None else "green")]
    if panel.limit is not None:
        steps.append(Threshold(value=panel.limit, color=colors[1]))
    return builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _datasource() -> DataSourceRef:
    return DataSourceRef(type_val="prometheus", uid="${datasource}")
