"""The dashboards are current and complete. The queries of dashboards and alerts name existing metrics."""

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from deploy.build import tools, values
from deploy.build.helm import Helm
from deploy.monitoring import dashboards as generated
from deploy.monitoring.catalogue import LABELS
from tests.deploy.monitoring_queries import (
    Query,
    dashboard_queries,
    dashboards,
    known_series,
    panels,
    parts,
    rule_queries,
)
from tests.deploy.objects import parse_objects
from tests.deploy.promtool import run_promtool, write_tests

GUIDE_TITLES = {
    *("SVGX Engine Overview", "Collaboration Metrics", "Error Tracking", "Resource Usage"),
    "Edits end to end",
}
"""The titles of five dashboards that the operations guide names."""

MAX_CONFIG_MAP_BYTES = 200 * 1024
"""The limit for a ConfigMap. `kubectl apply` keeps a copy in an annotation; annotations have at most 256 KiB."""


def problems(query: Query) -> list[str]:
    """Return a message for each metric, label or label value in the query that does not exist."""
    found = parts(query.text)
    known = known_series()
    wrong: list[str] = []
    labels: set[str] = set()
    for selector in found.selectors:
        if selector.name not in known:
            wrong.append(f"no metric {selector.name}")
            continue
        labels |= known[selector.name]
        for matcher in selector.matchers.matchers:
            if matcher.name not in known[selector.name]:
                wrong.append(f"{selector.name} has no label {matcher.name}")
            elif selector.name.startswith("svgx_engine_") and not _possible(matcher):
                wrong.append(f"{matcher.name} is never {matcher.value}")
    wrong += [f"cannot group by {label}" for label in found.grouped - labels]
    return wrong


def _possible(matcher: promql_parser.Matcher) -> bool:
    """Return whether each alternative in a matcher is a value that the label may have."""
    label = LABELS.get(matcher.name)
    if label is None or not label.values:
        return True
    if matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual):
        return matcher.value in label.values
    return set(matcher.value.split("|")) <= label.values


def test_dashboards_are_current() -> None:
    """The dashboard files are exactly those that the code generates."""
    written = {path: path.read_text("utf-8") for path in values.HELM.glob("*/dashboards/*")}
    assert written == generated.files(), "run `make dashboards`"


def test_queries_name_existing_metrics_and_labels() -> None:
    """The check covers all queries of dashboards and alerts. Proves R-OBS-13."""
    queries = [*dashboard_queries(), *rule_queries()]
    assert len(queries) > 150
    wrong = {str(query): found for query in queries if (found := problems(query))}
    assert wrong == {}


def named_releases(text: str) -> set[str]:
    """Return the values of labels in a query that name a release, such as the pod `svgx-gateway-0`.

    The label `job` has the same values in each release: the label app.kubernetes.io/name of the Kubernetes service.
    """
    return {
        f"{matcher.name}: {matcher.value}"
        for selector in parts(text).selectors
        for matcher in selector.matchers.matchers
        if matcher.name != "job" and "svgx" in matcher.value
    }


def test_queries_of_dashboards_name_no_release() -> None:
    """The dashboards show a release of any name. Proves R-OBS-13."""
    queries = list(dashboard_queries())
    assert {str(query): found for query in queries if (found := named_releases(query.text))} == {}


def test_rules_of_a_release_name_no_other_release(helm: Helm) -> None:
    """The charts replace each name of the release `svgx` in the rules. Proves R-OBS-13."""
    rendered = helm.template("svgx", "--values", "svgx/values-production.yaml", release="draw")
    rules = [
        rule
        for each in parse_objects(rendered)
        if each["kind"] == "PrometheusRule"
        for group in each["spec"]["groups"]
        for rule in group["rules"]
    ]
    assert len(rules) == len(list(rule_queries()))
    # The namespace and the secret of the certificate do not depend on the name of the release.
    same = {"namespace: svgx", "exported_namespace: svgx", "name: svgx-tls"}
    assert [rule for rule in rules if not named_releases(rule["expr"]) <= same] == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('up{job="svgx-state"}', set()),
        ('sum(up{pod=~"svgx-.+"} and on (namespace) up)', {"pod: svgx-.+"}),
        ('rate(x{service!~"draw",deployment="svgx-state"}[5m])', {"deployment: svgx-state"}),
    ],
)
def test_named_release_is_found(text: str, named: set[str]) -> None:
    """`named_releases` finds names of pods, deployments and other objects in every part of a query."""
    assert named_releases(text) == named


PODS = {
    'container_cpu_usage_seconds_total{pod="POD",container="x",namespace="NS"}': "0+30x20",
    'container_memory_working_set_bytes{pod="POD",container="x",namespace="NS"}': "1x20",
    'container_network_receive_bytes_total{pod="POD",namespace="NS"}': "0+30x20",
    'container_network_transmit_bytes_total{pod="POD",namespace="NS"}': "0+30x20",
    'kube_deployment_status_replicas_available{deployment="POD",namespace="NS"}': "1x20",
    'kube_deployment_spec_replicas{deployment="POD",namespace="NS"}': "1x20",
    'kube_pod_container_resource_limits{pod="POD",container="x",resource="cpu",namespace="NS"}': "1x20",
    'kube_pod_container_resource_limits{pod="POD",container="x",resource="memory",namespace="NS"}': "1x20",
    'kube_pod_container_status_restarts_total{pod="POD",container="x",namespace="NS"}': "0x15 1x5",
}
"""Series of a pod and of a deployment. A sample follows the one before it after 30 seconds. All panels show 1."""


def test_panels_on_pods_show_the_namespaces_of_the_services_only(tmp_path: Path) -> None:
    """The pods may have any name. Also for all namespaces, pods of other systems are not shown.

    Proves R-OBS-13.
    """
    series = {'up{job="svgx-gateway",namespace="svgx"}': "1x20", 'up{namespace="other"}': "1x20"}
    for namespace, pod in (("svgx", "draw-gateway-0"), ("other", "another-0")):
        for name, samples in PODS.items():
            series[name.replace("POD", pod).replace("NS", namespace)] = samples
    queries = [
        each.text
        for each in dashboard_queries()
        if each.place.startswith("svgx-resources") and re.search(r"\b(container|kube)_", each.text)
    ]
    assert len(queries) == 9
    test = {
        "interval": "30s",
        "input_series": [{"series": name, "values": each} for name, each in series.items()],
        "promql_expr_test": [
            {
                "expr": f"sum(round({text}))",
                "eval_time": "10m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
            for text in queries
        ],
    }
    run_promtool("test", "rules", write_tests({"groups": []}, [test], tmp_path / "panels"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rate(svgx_engine_requests[5m])", "no metric svgx_engine_requests"),
        ("svgx_engine_live_saved_seconds", "no metric svgx_engine_live_saved_seconds"),
        ("svgx_engine_ready{service='auth'} + nothing", "no metric nothing"),
        ("svgx_engine_ready{componant='auth'}", "svgx_engine_ready has no label componant"),
        ("svgx_engine_ready{component='canvas'}", "component is never canvas"),
        ("svgx_engine_ready{component=~'auth|x'}", "component is never auth|x"),
        ("svgx_engine_ready{component!~'x'}", "component is never x"),
        ("sum by (operation) (svgx_engine_ready)", "cannot group by operation"),
        ("svgx_engine_ready / on (code) svgx_engine_ready", "cannot group by code"),
        ("svgx_engine_ready * on (pod) group_left (le) up", "cannot group by le"),
        ("sum without (le) (rate(svgx_engine_errors_total[5m]))", "cannot group by le"),
        ("max_over_time((svgx_engine_unknown > 0)[5m:1m])", "no metric svgx_engine_unknown"),
    ],
)
def test_wrong_query_is_found(text: str, problem: str) -> None:
    """`problems` finds misspelt metrics and labels in every part of a query. Proves R-OBS-13."""
    assert problem in problems(Query("", text))


def test_dashboards_of_the_guide_exist() -> None:
    """The dashboards that the operations guide names exist."""
    assert {each["title"] for each in dashboards().values()} > GUIDE_TITLES


@pytest.mark.parametrize("name", list(dashboards()))
def test_panels_have_units_descriptions_and_thresholds(name: str) -> None:
    """Each panel has a description. Histograms of requests, saves and commits show exemplars, which link to traces."""
    dashboard = dashboards()[name]
    assert dashboard["uid"] == name
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    limits = 0
    for panel in panels(dashboard):
        assert panel["title"], panel
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        limits += len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1
        for target in panel["targets"]:
            # A stat panel shows one point, and has no place for exemplars.
            is_time = "_seconds_bucket" in target["expr"] and panel["type"] != "stat"
            has_exemplars = re.search(r"request_duration|saved|commit", target["expr"]) is not None
            assert target["exemplar"] == (is_time and has_exemplars), panel["title"]
    assert limits >= 4, "at least four panels have a value from which they are red"


def test_dashboards_fit_into_an_annotation(helm: Helm) -> None:
    """Grafana's sidecar finds each ConfigMap by its label, and `kubectl apply` can store it."""
    rendered = helm.template("svgx", "--values", "svgx/values-production.yaml")
    found = [each for each in parse_objects(rendered) if _is_dashboards(each)]
    files = {name: json.loads(text) for each in found for name, text in each["data"].items()}
    assert files == {f"{name}.json": dashboard for name, dashboard in dashboards().items()}
    for each in found:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert sum(map(len, each["data"].values())) < MAX_CONFIG_MAP_BYTES


def _is_dashboards(found: dict[str, Any]) -> bool:
    name: str = found["metadata"]["name"]
    return found["kind"] == "ConfigMap" and name.endswith("-dashboards")


def test_age_of_the_newest_backup_leaves_out_cron_jobs_that_are_not_daily(helm: Helm) -> None:
    """The panel is red above 26 hours. A weekly backup is older on most days."""
    query = next(
        each
        for each in dashboard_queries()
        if each.place == "svgx-backups: Age of the newest backup A"
    )
    (selector,) = parts(query.text).selectors
    pattern = next(each.value for each in selector.matchers.matchers if each.name == "cronjob")
    rendered = helm.template("svgx", "--values", "svgx/values-production.yaml")
    schedules = {
        each["metadata"]["name"]: each["spec"]["schedule"]
        for each in parse_objects(rendered)
        if each["kind"] == "CronJob"
    }
    assert len(schedules) == 3
    daily = {name for name, schedule in schedules.items() if schedule.endswith(" * * *")}
    assert {name for name in schedules if re.fullmatch(pattern, name)} == daily == {"svgx-backup"}


def test_grafana_of_docker_compose_has_all_dashboards() -> None:
    """Each chart's folder of dashboards is mounted below the folder that Grafana reads."""
    compose = yaml.safe_load((tools.ROOT / "docker-compose.yml").read_text("utf-8"))
    mounted = {
        each.split(":")[0]: each.split(":")[1] for each in compose["services"]["grafana"]["volumes"]
    }
    provider = yaml.safe_load(
        (tools.ROOT / "deploy/grafana/provisioning/dashboards/svgx.yaml").read_text("utf-8")
    )
    folder = provider["providers"][0]["options"]["path"]
    for path in values.HELM.glob("*/dashboards"):
        assert mounted[f"./{path.relative_to(tools.ROOT)}"].startswith(f"{folder}/")
