"""Debian's Prometheus scrapes the shared stack and answers the queries of all alerts and dashboards."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from deploy.build import values
from deploy.monitoring.catalogue import LABELS
from svgx_common.contract.operation import SERVICES
from svgx_devstack import DevStack
from svgx_devstack.ports import choose
from tests.deploy.debian import program
from tests.deploy.monitoring_queries import (
    FOREIGN,
    dashboard_queries,
    parts,
    rule_queries,
)
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver

INTERVAL = "1s"
"""Time between two scrapes, and between two evaluations of the rules."""

SCRAPES = 30
"""The most scrapes that a test waits for data."""

MAY_BE_EMPTY = {
    "svgx-errors: Open circuits A": "no circuit is open",
    "svgx-edits: Time of a compaction A": "no canvas has enough edits for a compaction",
    "svgx-edits: Time of a compaction B": "no canvas has enough edits for a compaction",
    "svgx-edits: Time of a compaction C": "no canvas has enough edits for a compaction",
    "svgx-backups: Space of the backups A": "the sample data have no volume of backups",
    "svgx-backups: Age of the newest backup B": "no backup is made",
    **{f"svgx-backups: Time of a backup {each}": "no backup is made" for each in "ABC"},
    **{
        f"svgx-quotas-and-events: Time of an attempt {each}": "there is no webhook"
        for each in "ABC"
    },
    "svgx-resources: Actions on stored values A": "no value is stored",
    "svgx-overview: Ready replicas B": "there is no reserved replica",
    "svgx-overview: Replicas that answer Prometheus B": "there is no reserved replica",
    "svgx-collaboration: Busy canvases B": "there is no reserved replica",
    "svgx-collaboration: Canvases of reserved replicas A": "there is no reserved replica",
}
"""The reason why a query may have no data in these tests. The key names the query's dashboard, panel and letter."""


class ForeignTarget:
    """A scrape target with sample metrics of other programs. Tests can wait until Prometheus scrapes the target."""

    def __init__(self) -> None:
        self._scraped = asyncio.Event()
        self.app = Starlette(routes=[Route("/metrics", self._answer)])

    async def wait_for_scrapes(self, count: int) -> None:
        """Wait for this number of scrapes. Meanwhile, Prometheus scrapes all other targets as often."""
        for _ in range(count):
            self._scraped.clear()
            await self._scraped.wait()

    async def _answer(self, _: Request) -> Response:
        self._scraped.set()
        return PlainTextResponse(FOREIGN.read_text(encoding="utf-8"))


class Prometheus:
    """A running Prometheus."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, **params: str) -> Any:
        """Send a GET request to the API, and return the data of the response."""
        answer = (await self._http.get(f"/api/v1/{path}", params=params)).json()
        assert answer["status"] == "success", (params, answer)
        return answer["data"]

    async def query(self, text: str) -> list[float]:
        """Return the values of a query, except those that are not a number (NaN)."""
        found = await self.get("query", query=text)
        results = [found["result"]] if found["resultType"] == "scalar" else found["result"]
        numbers = [
            float(each["value"][1] if isinstance(each, dict) else each[1]) for each in results
        ]
        return [number for number in numbers if not math.isnan(number)]

    async def has_data(self, text: str) -> bool:
        """Return whether a query has a result. Try again for a while, because a scrape of a busy service may fail."""
        for _ in range(SCRAPES):
            if await self.query(text):
                return True
            await asyncio.sleep(1)
        return False


def configuration(stack: DevStack, foreign_port: int) -> dict[str, Any]:
    """Return the configuration of Prometheus, with the labels that the Prometheus Operator sets on targets."""
    jobs: list[dict[str, Any]] = [
        {
            "job_name": f"svgx-{service}",
            "metrics_path": "/metrics/prometheus",
            "static_configs": [
                {
                    "targets": [urlsplit(stack.service_url(service)).netloc],
                    "labels": {
                        "service": f"svgx-{service}",
                        "pod": f"svgx-{service}-0",
                        "namespace": "svgx",
                        "endpoint": "http",
                        "container": service,
                    },
                }
            ],
        }
        for service in SERVICES
    ]
    jobs.append(
        {
            "job_name": "elsewhere",
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{foreign_port}"]}],
        }
    )
    return {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [str(values.HELM / service / "alerts.yaml") for service in SERVICES],
        "scrape_configs": jobs,
    }


@contextlib.asynccontextmanager
async def serving(app: Starlette, port: int) -> AsyncIterator[None]:
    """Serve an application on a port until the end of the block."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off"))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await task


@pytest.fixture(scope="module")
async def prometheus(
    stack: DevStack, driver: YjsDriver, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Prometheus]:
    """Start Prometheus, send requests to the stack, and wait until Prometheus has scraped the stack again."""
    folder = tmp_path_factory.mktemp("prometheus")
    executable = program("prometheus", "prometheus")
    port, foreign_port = choose(), choose()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration(stack, foreign_port)))
    foreign = ForeignTarget()
    async with serving(foreign.app, foreign_port):
        process = await _start(executable, folder, port)
        try:
            async with asyncio.timeout(60):
                await foreign.wait_for_scrapes(3)
                async with open_workspace(stack, driver) as workspace:
                    await use(workspace)
                await foreign.wait_for_scrapes(3)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
                yield Prometheus(http)
        finally:
            process.terminate()
            await process.wait()


async def _start(executable: str, folder: Path, port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        executable,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        stderr=asyncio.subprocess.DEVNULL,
    )


async def use(workspace: Workspace) -> None:
    """Make a few requests, and let two clients draw."""
    owner = workspace.owner
    canvas = await workspace.create_canvas()
    clients = await workspace.connect_many(canvas, 2)
    for number, client in enumerate(clients):
        await client.add_element(f"element-{number}", x=str(number))
    await workspace.driver.wait_converged(clients)
    await workspace.driver.wait_saved(clients)
    assert (await owner.request("GET", "/auth/me")).status_code == 200
    assert (await owner.request("GET", f"/runtime/canvases/{canvas}")).status_code == 200
    # One client stays connected, so that the numbers of connections and canvases are not 0.
    await workspace.destroy(clients[0])


async def test_all_rules_are_evaluated_without_an_error(prometheus: Prometheus) -> None:
    """All targets are scraped, and the rules are those of the charts. Proves R-OBS-14."""
    assert await prometheus.has_data(f'count(up{{job=~"svgx-.+"}} == 1) == {len(SERVICES)}')
    groups = (await prometheus.get("rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(list(rule_queries()))
    assert {(rule["name"], rule["health"], rule.get("lastError", "")) for rule in rules} == {
        (rule["name"], "ok", "") for rule in rules
    }


async def test_queries_of_dashboards_have_data(prometheus: Prometheus) -> None:
    """Each query returns a number, or is one of the queries in `MAY_BE_EMPTY`. Proves R-OBS-14."""
    empty = {
        query.place
        for query in dashboard_queries()
        # A query of `MAY_BE_EMPTY` may have data too, because other tests use the same stack.
        if query.place not in MAY_BE_EMPTY and not await prometheus.has_data(query.text)
    }
    assert empty == set()


async def test_selectors_of_rules_have_data(prometheus: Prometheus) -> None:
    """An alert that does not fire has no result, so each time series that alerts read is queried. Proves R-OBS-14."""
    selectors = {
        selector.prettify().partition(" offset ")[0].strip()
        for query in rule_queries()
        for selector in parts(query.text).selectors
    }
    assert len(selectors) > 20
    without_data = [each for each in selectors if not await prometheus.has_data(f"count({each})")]
    assert without_data == []


async def test_labels_of_targets_rename_no_label_of_a_metric(prometheus: Prometheus) -> None:
    """Prometheus would rename a metric's label to `exported_…` if targets had a label of that name. Proves R-OBS-11."""
    names = await prometheus.get("labels", **{"match[]": '{__name__=~"svgx_engine_.+"}'})
    assert [name for name in names if name.startswith("exported_")] == []


@pytest.mark.parametrize("label", [name for name, each in LABELS.items() if each.values])
async def test_values_of_labels_are_in_the_catalogue(prometheus: Prometheus, label: str) -> None:
    """The catalogue has all values that the services use. Proves R-OBS-11."""
    match = {"match[]": f'{{__name__=~"svgx_engine_.+",{label}!=""}}'}
    found = await prometheus.get(f"label/{label}/values", **match)
    assert set(found) - LABELS[label].values == set()
    assert found
