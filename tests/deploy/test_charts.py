"""The charts with Helm 3 and Helm 4: every values file, refused values, and the files generated from the charts."""

from typing import Any

import pytest
import yaml

from deploy.build import charts, tools, values
from deploy.build.helm import Helm, HelmError
from deploy.monitoring.catalogue import catalogue
from svgx_collab.settings import CollabSettings
from svgx_common.contract import OPERATIONS
from svgx_common.contract.operation import SERVICES
from svgx_state.settings import StateSettings
from tests.deploy.objects import parse_objects

STATE, COLLAB = StateSettings.model_fields, CollabSettings.model_fields

LONG_NAME = "a-release-with-the-longest-name-that-helm-permits".ljust(53, "x")
"""Helm permits release names of at most 53 characters."""


def render_alone(helm: Helm, service: str, *arguments: str) -> list[dict[str, Any]]:
    """Return the objects of a service's chart that is installed without the umbrella."""
    return parse_objects(
        helm.template(service, "--set", "nats.url=nats://nats.example:4222", *arguments)
    )


@pytest.mark.parametrize("chart", values.CHARTS)
def test_lint_reports_nothing(helm: Helm, chart: str) -> None:
    """`helm lint --strict` treats warnings as errors."""
    helm.run("lint", "--strict", chart)


@pytest.mark.parametrize("golden", charts.GOLDENS)
def test_umbrella_renders_its_golden(helm: Helm, golden: str) -> None:
    """Both versions of Helm render the same objects, and two renderings have the same bytes."""
    rendered = helm.template("svgx", *charts.GOLDENS[golden])
    assert rendered == helm.template("svgx", *charts.GOLDENS[golden])
    expected = (charts.RENDERED / golden).read_text(encoding="utf-8")
    assert parse_objects(rendered) == parse_objects(expected), "run `make charts`"


@pytest.mark.parametrize("service", SERVICES)
def test_chart_of_a_service_renders_alone(helm: Helm, service: str) -> None:
    """Each team can install its own service. All objects have the service's name."""
    found = render_alone(helm, service)
    assert {"Deployment", "Service", "ServiceAccount", "NetworkPolicy"} <= {
        each["kind"] for each in found
    }
    parts = ("", "-test", "-reserved") if service == "collab" else ("", "-test")
    names = {f"svgx-{service}{part}" for part in parts}
    assert {each["metadata"]["name"] for each in found} == names


def test_long_release_name_makes_valid_names(helm: Helm) -> None:
    """A DNS label has at most 63 characters. A StatefulSet's name has at most 52, because Kubernetes appends 11."""
    for each in parse_objects(helm.template("svgx", release=LONG_NAME)):
        limit = 52 if each["kind"] == "StatefulSet" else 63
        assert len(each["metadata"]["name"]) <= limit
        assert all(len(str(value)) <= 63 for value in each["metadata"]["labels"].values())


def test_deployment_with_an_autoscaler_has_no_number_of_replicas(helm: Helm) -> None:
    """An upgrade then keeps the number that the autoscaler has chosen."""
    found = render_alone(helm, "gateway")
    assert "replicas" not in of_kind(found, "Deployment")[0]["spec"]
    fixed = render_alone(helm, "gateway", "--set", "autoscaling.enabled=false")
    assert of_kind(fixed, "Deployment")[0]["spec"]["replicas"] == 3
    assert of_kind(fixed, "HorizontalPodAutoscaler") == []


@pytest.mark.parametrize("service", SERVICES)
def test_autoscaler_aims_at_the_targets_of_the_operations_guide(helm: Helm, service: str) -> None:
    """It keeps 3 to 10 replicas at 70 % of the processor time and 80 % of the memory that the service requests.

    A metric without the container's name would count other containers of the pod too.
    """
    found = render_alone(helm, service, "--kube-version", "1.30.0")
    (autoscaler,) = of_kind(found, "HorizontalPodAutoscaler")
    (deployment,) = (
        each
        for each in of_kind(found, "Deployment")
        if each["metadata"]["name"] == f"svgx-{service}"
    )
    spec = autoscaler["spec"]
    assert spec["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": f"svgx-{service}",
    }
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 10)
    assert spec["metrics"] == [
        {
            "type": "ContainerResource",
            "containerResource": {
                "container": service,
                "name": resource,
                "target": {"type": "Utilization", "averageUtilization": percent},
            },
        }
        for resource, percent in (("cpu", 70), ("memory", 80))
    ]
    # Kubernetes computes the percentages from the requests of this container.
    (own,) = (
        each
        for each in deployment["spec"]["template"]["spec"]["containers"]
        if each["name"] == service
    )
    assert own["resources"]["requests"].keys() >= {"cpu", "memory"}
    behavior = spec["behavior"]
    assert behavior["scaleUp"]["policies"] == [
        {"type": "Percent", "value": 100, "periodSeconds": 15}
    ]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert behavior["scaleDown"]["policies"] == [
        {"type": "Percent", "value": 10, "periodSeconds": 60}
    ]


def test_autoscaler_of_the_gateway_counts_its_websockets(helm: Helm) -> None:
    """The metric is one of the gateway's gauges. Without a number of connections, the autoscaler does not need it."""
    setting = ("--set", "autoscaling.connectionsPerReplica=500")
    (plain,) = of_kind(render_alone(helm, "gateway"), "HorizontalPodAutoscaler")
    (counting,) = of_kind(render_alone(helm, "gateway", *setting), "HorizontalPodAutoscaler")
    (added,) = [
        each for each in counting["spec"]["metrics"] if each not in plain["spec"]["metrics"]
    ]
    assert added["type"] == "Pods"
    gauges = {each.name for each in catalogue() if each.kind == "gauge" and not each.labels}
    assert added["pods"]["metric"]["name"] in gauges
    assert added["pods"]["target"] == {"type": "AverageValue", "averageValue": "500"}


def of_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return the objects of this kind."""
    return [each for each in found if each["kind"] == kind]


@pytest.mark.parametrize(
    ("chart", "setting", "named"),
    [
        ("gateway", "imagee.tag=1", "imagee"),
        ("gateway", "image.tags=1", "tags"),
        ("auth", "drain.noticeSeconds=1", "noticeSeconds"),
        ("state", "replicaCount=three", "replicaCount"),
        ("collab", "networkPolicy.enabled=maybe", "enabled"),
        ("auth", "readinessProbe.periodSecond=1", "periodSecond"),
        ("state", "resources.limit.cpu=1", "limit"),
        ("gateway", "networkPolicy.egress.redi.ports[0]=1", "redi"),
        ("gateway", "networkPolicy.egress.redis.port=1", "port"),
        ("state", "migration.enable=true", "enable"),
        ("collab", "config.log_levl=INFO", "log_levl"),
        ("auth", "config.database.pool_sze=3", "pool_sze"),
        ("gateway", "config.gateway.trusted_proxie=10.0.0.0/8", "trusted_proxie"),
        ("gateway", "config.state.worker_count=1", "state"),
        ("svgx", "state.config.state.worker_cout=1", "worker_cout"),
        # The charts set these settings as environment variables, which override the file.
        ("auth", "config.security.jwt_secret=x", "jwt_secret"),
        ("state", "config.database.url=postgresql://x", "url"),
        ("gateway", "config.gateway.drain_seconds=3", "drain_seconds"),
        ("collab", "config.collab.reserved=true", "reserved"),
        ("collab", "reserved.replicas=2", "replicas"),
        ("svgx", "natss.enabled=false", "natss"),
        ("svgx", "gateway.ingres.enabled=true", "ingres"),
        ("svgx", "postgresql.maxConnection=5", "maxConnection"),
    ],
)
def test_invalid_value_is_refused_with_its_name(
    helm: Helm, chart: str, setting: str, named: str
) -> None:
    """The schema permits only the chart's values, each with its type."""
    with pytest.raises(HelmError, match=named):
        helm.template(chart, "--set", setting)


@pytest.mark.parametrize(
    ("chart", "prefix"), [("auth", ""), ("state", ""), ("svgx", "auth."), ("svgx", "state.")]
)
def test_pools_that_exceed_the_connections_of_postgresql_are_refused(
    helm: Helm, chart: str, prefix: str
) -> None:
    """The message has the sum. With a pool of 20 + 30, one service needs 612 connections: 51 for each of 12 replicas.

    A replica has one connection beside its pool. During a rolling update there are two more replicas: one that starts,
    and one that stops.
    """
    setting = f"{prefix}config.database.pool_size=20,{prefix}config.database.max_overflow=30"
    setting += "" if prefix else ",nats.url=nats://nats.example:4222"
    with pytest.raises(
        HelmError, match=r"20 pool_size \+ 30 max_overflow \+ 1\) × 12 replicas.* = 6"
    ):
        helm.template(chart, "--set", setting)
    # 12 replicas × 51, 3 for the superuser, and in the umbrella chart 12 × 4 of the other service
    enough = 663 if prefix else 615
    helm.template(chart, "--set", f"{setting},postgresql.maxConnections={enough}")
    with pytest.raises(HelmError, match="connections to PostgreSQL"):
        helm.template(chart, "--set", f"{setting},postgresql.maxConnections={enough - 1}")


@pytest.mark.parametrize(
    ("chart", "setting", "message"),
    [
        ("auth", "replicaCount=2", "nats.url is required"),
        ("svgx", "nats.enabled=false", "auth.nats.url is required when nats.enabled is false"),
        (
            "svgx",
            "nats.enabled=false,auth.nats.url=nats://x:4222",
            "collab.nats.url is required when nats.enabled is false",
        ),
    ],
)
def test_missing_address_of_nats_is_refused(
    helm: Helm, chart: str, setting: str, message: str
) -> None:
    """Pods without the address of NATS would never become ready."""
    with pytest.raises(HelmError, match=message):
        helm.template(chart, "--set", setting)


def test_limits_of_database_backups_that_contradict_each_other_are_refused(helm: Helm) -> None:
    """Otherwise, each backup would fail. By default, `keepMin` is 3, and `keepMax` has no limit."""
    with pytest.raises(HelmError, match=r"backup\.keepMax is 2, and backup\.keepMin is 3"):
        helm.template("svgx", "--set", "backup.enabled=true,backup.keepMax=2")
    helm.template("svgx", "--set", "backup.enabled=true,backup.keepMax=3")


@pytest.mark.parametrize("release", ["2026-svgx", "1e3"])
def test_release_name_that_makes_invalid_names_is_refused(helm: Helm, release: str) -> None:
    """Names of Kubernetes services begin with a letter."""
    with pytest.raises(HelmError, match="does not begin with a letter"):
        helm.template("svgx", release=release)


@pytest.mark.parametrize("release", ["svgx.v1", "on", "svgx-gateway"])
def test_awkward_release_name_makes_valid_names_and_labels(helm: Helm, release: str) -> None:
    """A dot becomes a hyphen, and a name that YAML reads as another type stays text."""
    for each in parse_objects(helm.template("svgx", release=release)):
        assert "." not in each["metadata"]["name"]
        assert isinstance(each["metadata"]["labels"]["app.kubernetes.io/instance"], str)


def test_release_named_like_its_service_does_not_repeat_the_name(helm: Helm) -> None:
    """`helm install svgx-gateway gateway` makes `svgx-gateway`, not `svgx-gateway-gateway`."""
    address = "nats.url=nats://nats.example:4222"
    found = parse_objects(helm.template("gateway", "--set", address, release="svgx-gateway"))
    assert of_kind(found, "Deployment")[0]["metadata"]["name"] == "svgx-gateway"


def test_own_service_account_is_used_by_the_pods(helm: Helm) -> None:
    """The chart creates the service account with the name in the values, and the pods use this account."""
    found = render_alone(helm, "auth", "--set", "serviceAccount.name=team-auth")
    (account,) = of_kind(found, "ServiceAccount")
    (deployment,) = of_kind(found, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert account["metadata"]["name"] == pod["serviceAccountName"] == "team-auth"


def test_custom_labels_and_annotations_do_not_override_those_of_the_chart(helm: Helm) -> None:
    """Kubernetes refuses a Deployment if its selector does not match the labels of its pods."""
    found = render_alone(
        helm,
        "auth",
        *("--set", r"podLabels.app\.kubernetes\.io/name=x,podLabels.team=y"),
        *("--set", r"podAnnotations.checksum/config=x,podAnnotations.note=y"),
    )
    (deployment,) = of_kind(found, "Deployment")
    metadata = deployment["spec"]["template"]["metadata"]
    assert metadata["labels"]["app.kubernetes.io/name"] == "svgx-auth"
    assert metadata["labels"]["team"] == metadata["annotations"]["note"] == "y"
    assert metadata["annotations"]["checksum/config"] != "x"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("2", {"valueFrom": {"resourceFieldRef": "limits.cpu"}}),
        ("null", {"value": "1"}),
    ],
)
def test_password_workers_follow_the_limit_of_the_pod_only(
    helm: Helm, limit: str, expected: dict[str, Any]
) -> None:
    """Without a CPU limit, Kubernetes would report the node's number of cores, so the chart sets 1."""
    found = render_alone(helm, "auth", "--set", f"resources.limits.cpu={limit}")
    (deployment,) = of_kind(found, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (variable,) = (each for each in container["env"] if each["name"] == "PASSWORD_WORKERS")
    del variable["name"]
    if "valueFrom" in variable:
        source = variable["valueFrom"]["resourceFieldRef"]["resource"]
        variable = {"valueFrom": {"resourceFieldRef": source}}
    assert variable == expected


@pytest.mark.parametrize(
    ("service", "workers_mib"),
    [
        ("state", STATE["worker_count"].default * STATE["worker_memory_mb"].default),
        (
            "collab",
            COLLAB["import_workers"].default * COLLAB["import_memory_bytes"].default // 2**20,
        ),
    ],
)
def test_memory_limit_covers_all_workers(service: str, workers_mib: int) -> None:
    """A pod with more workers than its memory permits would be killed, and would lose its unsaved edits."""
    limit = values_of(service)["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    assert int(limit.removesuffix("Mi")) >= workers_mib + 512


def test_migrations_run_before_an_upgrade_only_if_enabled(helm: Helm) -> None:
    """By default, starting pods migrate the database. No Service selects the Job's pod, so the pod gets no requests."""
    assert of_kind(render_alone(helm, "state"), "Job") == []
    found = render_alone(helm, "state", "--set", "migration.enabled=true,existingSecret=own")
    (job,) = of_kind(found, "Job")
    (service,) = of_kind(found, "Service")
    template = job["spec"]["template"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    assert not service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    (container,) = template["spec"]["containers"]
    variable = next(each for each in container["env"] if each["name"] == "POSTGRES_URL")
    assert container["args"] == ["migrate"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "own", "key": "postgres-url"}


@pytest.mark.parametrize(
    ("version", "policy", "metric"),
    [
        ("1.24", None, "Resource"),
        ("1.26", None, "Resource"),
        ("1.27", "AlwaysAllow", "Resource"),
        ("1.29", "AlwaysAllow", "Resource"),
        ("1.30", "AlwaysAllow", "ContainerResource"),
        ("1.37", "AlwaysAllow", "ContainerResource"),
    ],
)
def test_fields_follow_the_version_of_kubernetes(
    helms: dict[str, Helm], version: str, policy: str | None, metric: str
) -> None:
    """An older Kubernetes refuses or ignores the newer fields."""
    found = parse_objects(helms["helm4"].template("svgx", "--kube-version", version))
    budgets = of_kind(found, "PodDisruptionBudget")
    assert len(budgets) == len(SERVICES) + 1
    assert {each["spec"].get("unhealthyPodEvictionPolicy") for each in budgets} == {policy}
    scalers = of_kind(found, "HorizontalPodAutoscaler")
    assert {each["spec"]["metrics"][0]["type"] for each in scalers} == {metric}
    for each in of_kind(found, "Deployment"):
        for spread in each["spec"]["template"]["spec"]["topologySpreadConstraints"]:
            assert ("matchLabelKeys" in spread) == (policy is not None)


@pytest.mark.parametrize("way", ["ingress", "httpRoute"])
def test_gateway_without_trusted_proxies_is_refused_behind_an_ingress(helm: Helm, way: str) -> None:
    """Without trusted proxies, all clients would share the rate limit of the ingress controller's address."""
    with pytest.raises(HelmError, match=r"config.gateway.trusted_proxies is required"):
        render_alone(helm, "gateway", "--set", f"{way}.enabled=true,ingress.host=x.example")


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort"])
def test_open_service_of_the_gateway_needs_a_rule_of_the_network_policy(
    helm: Helm, kind: str
) -> None:
    """Otherwise, the network policy of the chart would refuse the clients, while `helm test` passes."""
    opened = f"service.type={kind}"
    with pytest.raises(HelmError, match=rf"networkPolicy.extraIngress is required with {opened}"):
        render_alone(helm, "gateway", "--set", opened)
    render_alone(helm, "gateway", "--set", f"{opened},networkPolicy.enabled=false")
    rule = "networkPolicy.extraIngress[0].ports[0].port=http"
    (policy,) = of_kind(render_alone(helm, "gateway", "--set", f"{opened},{rule}"), "NetworkPolicy")
    assert {"ports": [{"port": "http"}]} in policy["spec"]["ingress"]


@pytest.mark.parametrize(
    ("way", "settings"),
    [
        ("Ingress", "ingress.enabled=true,ingress.host=x.example"),
        ("HTTPRoute", "httpRoute.enabled=true,httpRoute.parentRefs[0].name=public"),
    ],
)
def test_ingress_and_route_expose_every_operation_and_no_metrics(
    helm: Helm, way: str, settings: str
) -> None:
    """Each path of the contract has a prefix in the Ingress or HTTPRoute. `/metrics` has none."""
    proxies = "config.gateway.trusted_proxies=10.0.0.0/8"
    (found,) = of_kind(render_alone(helm, "gateway", "--set", f"{settings},{proxies}"), way)
    if way == "Ingress":
        entries = found["spec"]["rules"][0]["http"]["paths"]
        paths = [(each["path"], each["pathType"]) for each in entries]
        # ingress-nginx refuses a dot in paths of the other types.
        assert all(kind == "ImplementationSpecific" for path, kind in paths if "." in path)
    else:
        rules = found["spec"]["rules"]
        assert all(len(rule["matches"]) <= 8 for rule in rules)
        entries = [match["path"] for rule in rules for match in rule["matches"]]
        paths = [(each["value"], each["type"].removeprefix("Path")) for each in entries]

    def exposed(path: str) -> bool:
        return any(
            path == prefix
            or (kind in ("Prefix", "ImplementationSpecific") and path.startswith(f"{prefix}/"))
            for prefix, kind in paths
        )

    pages = ("/", "/docs", "/health/", "/health/ready", "/openapi.json", "/runtime/events/x")
    operations = [each.http.path for each in OPERATIONS if each.http is not None]
    assert [path for path in (*pages, *operations) if not exposed(path)] == []
    assert not exposed("/metrics/")
    assert not exposed("/metrics/prometheus")


def test_values_have_the_settings_of_the_configuration_file() -> None:
    """Helm cannot read files outside of a chart, so the charts repeat `config/production.yaml`."""
    file = yaml.safe_load((tools.ROOT / "config" / "production.yaml").read_text(encoding="utf-8"))
    scaling = file.pop("scaling")
    for section in file.values():
        if isinstance(section, dict):
            # The charts take these keys from secrets or from values of their own.
            for key in ("url", "jwt_secret"):
                section.pop(key, None)
    file.pop("nats")
    del file["gateway"]["cors_origins"]
    merged: dict[str, Any] = {}
    for service in SERVICES:
        content = values_of(service)
        for key, value in content["config"].items():
            if isinstance(value, dict):
                merged.setdefault(key, {}).update(value)
            else:
                merged[key] = value
        autoscaling = content["autoscaling"]
        assert scaling == {
            "min_replicas": autoscaling["minReplicas"],
            "max_replicas": autoscaling["maxReplicas"],
            "target_cpu_utilization": autoscaling["targetCPUUtilization"],
        }
    assert merged.pop("gateway").keys() == {"cors_origins", "trusted_proxies"}
    del file["gateway"]
    assert merged == file


def values_of(chart: str) -> dict[str, Any]:
    """Return the default values of a chart."""
    content: dict[str, Any] = yaml.safe_load(
        (values.HELM / chart / "values.yaml").read_text(encoding="utf-8")
    )
    return content


@pytest.mark.parametrize("chart", values.CHARTS)
def test_every_value_has_a_description(chart: str) -> None:
    """A value without a comment would have no row in the README."""
    text = (values.HELM / chart / "values.yaml").read_text(encoding="utf-8")
    described = {row.path for row in values.rows(text)}

    def undescribed(content: dict[str, Any], prefix: str) -> list[str]:
        found: list[str] = []
        for key, value in content.items():
            path = f"{prefix}{key}"
            if path in described and (not isinstance(value, dict) or not value):
                continue
            if isinstance(value, dict) and value:
                if not (path in described and key in values.FREE) and key != "egress":
                    found += undescribed(value, f"{path}.")
            elif not any(part in values.FREE for part in path.split(".")[:-1]):
                found.append(path)
        return found

    assert undescribed(values_of(chart), "") == []


def test_generated_files_are_current(helms: dict[str, Helm]) -> None:
    """Schemas, READMEs, the users of NATS and the manifests follow from their sources."""
    files = charts.chart_files() | charts.manifests(helms["helm4"])
    stale = [str(path) for path, text in files.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make charts`"
