"""The values for pods reach every pod of the charts: replicas, servers, Jobs, CronJobs and `helm test`."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.build.helm import Helm
from svgx_common.contract.operation import SERVICES
from tests.deploy.objects import Object, parse_objects, pod_templates

SECTIONS = {
    "Deployment svgx-auth": "auth",
    "Job svgx-auth-migrate": "auth",
    "Pod svgx-auth-test": "auth",
    "Deployment svgx-collab": "collab",
    "Deployment svgx-collab-reserved": "collab",
    "Pod svgx-collab-test": "collab",
    "Deployment svgx-gateway": "gateway",
    "Pod svgx-gateway-test": "gateway",
    "Deployment svgx-state": "state",
    "Job svgx-state-migrate": "state",
    "CronJob svgx-state-backup-full": "state",
    "CronJob svgx-state-backup-incremental": "state",
    "Pod svgx-state-test": "state",
    "StatefulSet svgx-nats": "nats",
    "StatefulSet svgx-postgresql": "postgresql",
    "Deployment svgx-valkey": "valkey",
    "CronJob svgx-backup": "backup",
}
"""The section of the umbrella chart's values that applies to each pod."""

NO_REPLICAS = {
    name for name, section in SECTIONS.items() if section in SERVICES and "Deployment" not in name
}
"""The pods of Jobs and of `helm test` that have the values of the service's replicas."""

ALL_PODS = (
    *("--values=svgx/values-dev.yaml", "--values=svgx/values-production.yaml"),
    *("--set=auth.migration.enabled=true,state.migration.enabled=true",),
    *("--set=collab.reserved.replicaCount=1",),
)
"""Arguments with which the umbrella chart renders every pod."""

NODES: Object = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
OTHER_REPLICAS: Object = {
    "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]
}


def values_of(section: str) -> Object:
    """Return values for the pods of a section. Most of them contain the section's name."""
    found: Object = {
        "nodeSelector": {"disk": section},
        "tolerations": [{"key": section, "operator": "Exists"}],
        "priorityClassName": section,
        "affinity": {"nodeAffinity": NODES, "podAntiAffinity": OTHER_REPLICAS},
        "podAnnotations": {"note": section, "helm.sh/hook": "none"},
    }
    if section in SERVICES:
        found["podLabels"] = {"team": section, "app.kubernetes.io/name": "other"}
        found["imagePullSecrets"] = [section]
    return found


def render(helm: Helm, folder: Path, content: Object) -> dict[str, Object]:
    """Return all pods of the umbrella chart with these values, by kind and name."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return pod_templates(parse_objects(helm.template("svgx", *ALL_PODS, f"--values={file}")))


@pytest.fixture
def pods(helm: Helm, tmp_path: Path) -> dict[str, Object]:
    """Return all pods with the values of `values_of`, by kind and name."""
    content = {section: values_of(section) for section in set(SECTIONS.values())}
    return render(helm, tmp_path, {**content, "global": {"imagePullSecrets": ["shared"]}})


def scheduling(pod: Object) -> Object:
    """Return the fields of a pod that the scheduler reads."""
    names = ("nodeSelector", "tolerations", "priorityClassName", "affinity")
    return {name: pod["spec"].get(name) for name in names}


def test_scheduling_values_of_a_section_apply_to_all_its_pods(pods: dict[str, Object]) -> None:
    """Pods of Jobs and of `helm test` do not avoid the nodes of replicas. Otherwise they might find no node."""
    expected: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        wanted = values_of(section)
        affinity = {"nodeAffinity": NODES} if name in NO_REPLICAS else wanted["affinity"]
        expected[name] = {
            "nodeSelector": wanted["nodeSelector"],
            "tolerations": wanted["tolerations"],
            "priorityClassName": wanted["priorityClassName"],
            "affinity": affinity,
        }
    assert {name: scheduling(pod) for name, pod in pods.items()} == expected


def test_affinity_to_pods_alone_gives_a_job_no_affinity(helm: Helm, tmp_path: Path) -> None:
    """Without `nodeAffinity`, the pods of Jobs and of `helm test` have no field `affinity`."""
    affinity = {"podAntiAffinity": OTHER_REPLICAS}
    found = render(helm, tmp_path, {"auth": {"affinity": affinity}})
    assert found["Deployment svgx-auth"]["spec"]["affinity"] == affinity
    for name in ("Job svgx-auth-migrate", "Pod svgx-auth-test"):
        assert "affinity" not in found[name]["spec"]


def test_labels_and_annotations_of_a_section_apply_to_all_its_pods(
    pods: dict[str, Object],
) -> None:
    """An annotation or a label does not replace that of the chart. Servers and the backup have no values for labels."""
    assert pods.keys() == SECTIONS.keys()
    for name, section in SECTIONS.items():
        metadata = pods[name]["metadata"]
        labels, annotations = metadata["labels"], metadata["annotations"]
        assert annotations["note"] == section, name
        assert labels.get("team") == (section if section in SERVICES else None), name
        assert labels["app.kubernetes.io/name"] != "other", name
        assert annotations["helm.sh/hook"] == ("test" if name.startswith("Pod ") else "none"), name


def test_pull_secrets_apply_to_all_pods(pods: dict[str, Object]) -> None:
    """The global secrets apply to all pods, and the secrets of a service to all pods of the service."""
    expected = {
        name: ["shared", section] if section in SERVICES else ["shared"]
        for name, section in SECTIONS.items()
    }
    assert {
        name: [each["name"] for each in pod["spec"]["imagePullSecrets"]]
        for name, pod in pods.items()
    } == expected


@pytest.mark.parametrize("create", [True, False])
def test_service_account_applies_to_all_pods_that_start_after_it_exists(
    helm: Helm, tmp_path: Path, *, create: bool
) -> None:
    """The Job of migrations runs before Helm makes the service account, so it uses only an account that exists."""
    account = {"serviceAccount": {"create": create, "name": "team"}}
    found = render(helm, tmp_path, dict.fromkeys(SERVICES, account))
    own = {name for name, section in SECTIONS.items() if section in SERVICES}
    if create:
        own -= {"Job svgx-auth-migrate", "Job svgx-state-migrate"}
    assert {
        name for name, pod in found.items() if pod["spec"].get("serviceAccountName") == "team"
    } == own


def test_services_listen_on_the_address_of_the_values(helm: Helm, tmp_path: Path) -> None:
    """With `::`, all replicas listen on IPv6, so that a cluster with IPv6 only can run the charts. Proves R-SHIP-7."""
    for content, expected in (({}, "0.0.0.0"), ({"listenAddress": "::"}, "::")):
        pods = render(helm, tmp_path, {"global": content})
        for name in (each for each in SECTIONS if each.startswith("Deployment svgx-")):
            if SECTIONS[name] in SERVICES:
                (container,) = pods[name]["spec"]["containers"]
                variables = {each["name"]: each.get("value") for each in container["env"]}
                assert variables["API_HOST"] == expected, name
