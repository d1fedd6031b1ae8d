"""The reserved replicas of collab in the charts. They have a Deployment of their own, without other pods."""

from typing import Any

import pytest

from deploy.build import charts
from deploy.build.helm import Helm
from svgx_collab.settings import CollabSettings
from tests.deploy.objects import Object, parse_objects

NAME = "svgx-collab-reserved"
MONITORED = ("--values=svgx/values-production.yaml", "--set=valkey.enabled=true")


def render(helm: Helm, count: int, *arguments: str) -> dict[tuple[str, str], Object]:
    """Return the objects of the umbrella chart with this number of reserved replicas, by kind and name."""
    setting = f"--set=collab.reserved.replicaCount={count}"
    found = parse_objects(helm.template("svgx", *MONITORED, setting, *arguments))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


@pytest.fixture
def objects(helm: Helm) -> dict[tuple[str, str], Object]:
    """Return the objects of the umbrella chart with two reserved replicas, by kind and name."""
    return render(helm, 2)


def pod_labels(found: dict[tuple[str, str], Object], deployment: str) -> dict[str, str]:
    """Return the labels of the pods of a Deployment."""
    template = found["Deployment", deployment]["spec"]["template"]
    labels: dict[str, str] = template["metadata"]["labels"]
    return labels


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a selector with `matchLabels` and `matchExpressions` selects an object with these labels."""
    for each in selector.get("matchExpressions", []):
        assert each["operator"] == "In"
        if labels.get(each["key"]) not in each["values"]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def container(found: dict[tuple[str, str], Object], deployment: str) -> dict[str, Any]:
    """Return the container of a Deployment."""
    spec = found["Deployment", deployment]["spec"]["template"]["spec"]
    (each,) = spec["containers"]
    return dict(each)


def test_chart_without_reserved_replicas_has_none_of_their_objects(helm: Helm) -> None:
    """With 0 reserved replicas, the charts render no Deployment and no Service for them. Proves R-BOUND-12."""
    without, with_two = render(helm, 0), render(helm, 2)
    assert with_two.keys() - without.keys() == {("Deployment", NAME), ("Service", NAME)}
    assert without.keys() <= with_two.keys()
    changed = {key for key in without if without[key] != with_two[key]}
    assert changed == {("NetworkPolicy", "svgx-collab")}
    policy = without["NetworkPolicy", "svgx-collab"]["spec"]["podSelector"]
    assert "matchExpressions" not in policy


@pytest.mark.parametrize(
    ("golden", "expected"), [("default.yaml", [1]), ("dev.yaml", []), ("production.yaml", [1])]
)
def test_values_files_start_one_reserved_replica_except_for_trials(
    golden: str, expected: list[int]
) -> None:
    """A trial on one node has no memory to spare for a replica that is idle most of the time."""
    found = parse_objects((charts.RENDERED / golden).read_text(encoding="utf-8"))
    deployments = [each for each in found if each["kind"] == "Deployment"]
    replicas = [
        each["spec"]["replicas"] for each in deployments if each["metadata"]["name"] == NAME
    ]
    assert replicas == expected


def test_reserved_container_differs_from_the_others_in_two_variables_and_its_resources_only(
    objects: dict[tuple[str, str], Object],
) -> None:
    """`RESERVED` is set for reserved replicas only, and the service knows it. Traces name their Deployment.

    Proves R-BOUND-12.
    """
    own, other = container(objects, NAME), container(objects, "svgx-collab")
    variables = {each["name"]: each for each in own["env"]}
    assert variables.pop("RESERVED")["value"] == "true"
    assert "reserved" in CollabSettings.model_fields
    attributes = variables["OTEL_RESOURCE_ATTRIBUTES"]
    assert attributes["value"].endswith(f"k8s.deployment.name={NAME}")
    attributes["value"] = attributes["value"].removesuffix("-reserved")
    assert list(variables.values()) == other["env"]
    assert own["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
    assert {**own, "env": None, "resources": None} == {**other, "env": None, "resources": None}
    spec = objects["Deployment", NAME]["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == objects["Deployment", "svgx-collab"]["spec"]["strategy"]


def test_reserved_pods_are_selected_by_their_own_deployment_and_service_only(
    objects: dict[tuple[str, str], Object],
) -> None:
    """The autoscaler, the disruption budget and the Deployment of the other replicas do not count reserved ones."""
    own, other = pod_labels(objects, NAME), pod_labels(objects, "svgx-collab")
    for kind in ("Deployment", "PodDisruptionBudget"):
        selector = objects[kind, "svgx-collab"]["spec"]["selector"]
        assert selects(selector, other)
        assert not selects(selector, own)
    assert selects(objects["Deployment", NAME]["spec"]["selector"], own)
    assert not selects(objects["Deployment", NAME]["spec"]["selector"], other)
    for service, selected, ignored in (("svgx-collab", other, own), (NAME, own, other)):
        wanted = objects["Service", service]["spec"]["selector"]
        assert wanted.items() <= selected.items()
        assert not wanted.items() <= ignored.items()
    spread = objects["Deployment", NAME]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert all(selects(each["labelSelector"], own) for each in spread)
    assert not any(selects(each["labelSelector"], other) for each in spread)
    targets = {
        each["spec"]["scaleTargetRef"]["name"]
        for (kind, _), each in objects.items()
        if kind == "HorizontalPodAutoscaler"
    }
    assert "svgx-collab" in targets
    assert NAME not in targets


def test_reserved_replicas_are_scraped_with_the_job_of_the_others(
    objects: dict[tuple[str, str], Object],
) -> None:
    """One ServiceMonitor selects both Kubernetes services. Both have the same job label, and different names."""
    monitor = objects["ServiceMonitor", "svgx-collab"]["spec"]
    own, other = (objects["Service", name] for name in (NAME, "svgx-collab"))
    assert own["metadata"]["labels"] == other["metadata"]["labels"]
    assert own["metadata"]["labels"][monitor["jobLabel"]] == "svgx-collab"
    assert selects(monitor["selector"], own["metadata"]["labels"])
    assert own["spec"]["ports"] == other["spec"]["ports"]


def test_network_policies_permit_the_same_traffic_for_reserved_and_other_replicas(
    objects: dict[tuple[str, str], Object],
) -> None:
    """Collab's policy applies to both kinds of pods and to no other, and NATS and Valkey admit both kinds."""
    policy = objects["NetworkPolicy", "svgx-collab"]["spec"]["podSelector"]
    pods = {name: pod_labels(objects, name) for kind, name in objects if kind == "Deployment"}
    assert {name for name, labels in pods.items() if selects(policy, labels)} == {
        "svgx-collab",
        NAME,
    }
    test = objects["Pod", "svgx-collab-test"]["metadata"]["labels"]
    assert not selects(policy, test)
    for server in ("svgx-nats", "svgx-valkey"):
        sources = objects["NetworkPolicy", server]["spec"]["ingress"][0]["from"]
        for name in ("svgx-collab", NAME):
            assert any(selects(each["podSelector"], pods[name]) for each in sources), (server, name)


def test_labels_of_pods_do_not_override_the_name_of_reserved_replicas(helm: Helm) -> None:
    """The autoscaler of the other replicas would otherwise count reserved ones."""
    setting = r"--set=collab.podLabels.app\.kubernetes\.io/name=svgx-collab,collab.podLabels.team=y"
    labels = pod_labels(render(helm, 1, setting), NAME)
    assert labels["app.kubernetes.io/name"] == NAME
    assert labels["team"] == "y"
