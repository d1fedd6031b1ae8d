"""The gateway's metrics on a port of their own (`config.gateway.metrics_port`): pods, service, scrapes and policies."""

import pytest
import yaml

from deploy.build.helm import Helm, HelmError
from svgx_common.contract.operation import SERVICES
from svgx_gateway.settings import GatewaySettings
from tests.deploy.objects import Object, parse_objects

PRODUCTION = ("--values", "svgx/values-production.yaml")
SETTING = "gateway.config.gateway.metrics_port=9100"
PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
CONTROLLER = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}
}
TEST = {"podSelector": {"matchLabels": {"svgx.dev/test-of": "svgx-gateway"}}}

Objects = dict[tuple[str, str], Object]


def render(helm: Helm, *arguments: str) -> Objects:
    """Return the objects of the umbrella chart with the production values, by kind and name."""
    found = parse_objects(helm.template("svgx", *PRODUCTION, *arguments))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


@pytest.fixture
def objects(helm: Helm) -> Objects:
    """Return the objects with the metrics on port 9100."""
    return render(helm, "--set", SETTING)


def container(found: Objects, service: str) -> Object:
    """Return the container of a service's replicas."""
    (each,) = found["Deployment", f"svgx-{service}"]["spec"]["template"]["spec"]["containers"]
    return dict(each)


def scraped(found: Objects, service: str) -> set[int]:
    """Return the container ports that Prometheus scrapes: those of all Kubernetes services that the monitor selects."""
    monitor = found["ServiceMonitor", f"svgx-{service}"]["spec"]
    (endpoint,) = monitor["endpoints"]
    by_name = {each["name"]: each["containerPort"] for each in container(found, service)["ports"]}
    labels = found["Deployment", f"svgx-{service}"]["spec"]["template"]["metadata"]["labels"]
    return {
        by_name[port["targetPort"]]
        for (kind, _), each in found.items()
        if kind == "Service"
        and monitor["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
        and each["spec"]["selector"].items() <= labels.items()
        for port in each["spec"]["ports"]
        if port["name"] == endpoint["port"]
    }


def admitted(found: Objects, service: str) -> dict[str, list[Object]]:
    """Return the sources that the network policy admits, by the name of the port."""
    rules = found["NetworkPolicy", f"svgx-{service}"]["spec"]["ingress"]
    return {port["port"]: rule["from"] for rule in rules for port in rule["ports"]}


def test_prometheus_scrapes_the_port_of_the_setting(helm: Helm, objects: Objects) -> None:
    """The service listens on the port in its configuration file. All other services keep the port of requests."""
    file = yaml.safe_load(objects["ConfigMap", "svgx-gateway"]["data"]["config.yaml"])
    assert file["gateway"]["metrics_port"] == 9100
    assert "metrics_port" in GatewaySettings.model_fields
    assert {each: scraped(objects, each) for each in SERVICES} == {
        **{each: {8000} for each in SERVICES},
        "gateway": {9100},
    }
    without = render(helm)
    assert {port for each in SERVICES for port in scraped(without, each)} == {8000}


def test_policy_admits_only_prometheus_to_the_metrics(helm: Helm, objects: Objects) -> None:
    """Prometheus reaches the port of the metrics only, and all other sources reach the port of requests only."""
    assert admitted(objects, "gateway") == {"metrics": [PROMETHEUS], "http": [CONTROLLER, TEST]}
    assert admitted(render(helm), "gateway") == {"http": [PROMETHEUS, CONTROLLER, TEST]}
    assert admitted(objects, "auth").keys() == {"http"}


def test_policy_without_sources_for_metrics_has_no_rule_for_them(helm: Helm) -> None:
    """A rule with an empty list of sources would admit every source."""
    none = "--set-json=gateway.networkPolicy.ingress.monitoring=[]"
    assert admitted(render(helm, "--set", SETTING, none), "gateway") == {"http": [CONTROLLER, TEST]}


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_metrics_port_is_reachable_inside_the_cluster_only(helm: Helm, kind: str) -> None:
    """The service for clients and the ingress do not have the port, also with a service of another type."""
    rule = "gateway.networkPolicy.extraIngress[0].ports[0].port=http"
    found = render(helm, "--set", f"{SETTING},gateway.service.type={kind},{rule}")
    assert found["Service", "svgx-gateway"]["spec"]["type"] == kind
    assert [each["name"] for each in found["Service", "svgx-gateway"]["spec"]["ports"]] == ["http"]
    metrics = found["Service", "svgx-gateway-metrics"]["spec"]
    assert metrics.get("type", "ClusterIP") == "ClusterIP"
    assert metrics["clusterIP"] == "None"
    (rule,) = found["Ingress", "svgx-gateway"]["spec"]["rules"]
    ports = {path["backend"]["service"]["port"]["name"] for path in rule["http"]["paths"]}
    assert ports == {"http"}


def test_probes_stay_on_the_port_that_serves_health(helm: Helm, objects: Objects) -> None:
    """The port of the metrics serves no other page."""
    before, after = container(render(helm), "gateway"), container(objects, "gateway")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert after[probe] == before[probe]
        assert after[probe]["httpGet"]["port"] == "http"
    assert [each for each in after["ports"] if each not in before["ports"]] == [
        {"name": "metrics", "containerPort": 9100}
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("config.gateway.metrics_port=8000", "must differ from 8000"),
        ("config.gateway.metrics_port=0", "metrics_port"),
        ("config.gateway.metrics_port=70000", "metrics_port"),
        ("config.gateway.metrics_port=high", "metrics_port"),
        (
            "extraEnv[0].name=METRICS_PORT,extraEnv[0].value=9100",
            "set config.gateway.metrics_port instead of METRICS_PORT",
        ),
    ],
)
def test_unusable_metrics_port_is_refused(helm: Helm, settings: str, message: str) -> None:
    """Prometheus would not find the metrics."""
    gateway = ",".join(f"gateway.{each}" for each in settings.split(","))
    with pytest.raises(HelmError, match=message):
        render(helm, "--set", gateway)
