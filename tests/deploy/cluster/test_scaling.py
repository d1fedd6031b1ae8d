"""Scaling by hand and by the autoscaler, in combination with upgrades by Helm."""

from typing import Any

import pytest

from deploy.build.helm import Helm
from tests.deploy.cluster import pod_metrics
from tests.deploy.cluster.cluster import Cluster, CommandError
from tests.deploy.cluster.releases import NATS, Release

FIXED = ("--set", "autoscaling.enabled=false")


def test_service_scaled_to_zero_stays_down_until_it_is_scaled_up(
    cluster: Cluster, gateway: Release
) -> None:
    """The operations guide stops services for a recovery. Neither the autoscaler nor an upgrade starts them again."""
    gateway.install()
    cluster.wait(lambda: gateway.replicas("gateway") == 3, "the autoscaler's minimum")
    gateway.scale("gateway", 0)
    arguments = ("hpa", "svgx-gateway", "--namespace", gateway.namespace)
    cluster.wait(
        lambda: condition(cluster.get(*arguments), "ScalingActive") == "ScalingDisabled",
        "the autoscaler is inactive",
    )
    gateway.upgrade("--set-string", "podAnnotations.note=1")
    assert gateway.replicas("gateway") == 0
    gateway.scale("gateway", 3)
    cluster.kubectl(
        *("rollout", "status", "deployment/svgx-gateway", "--timeout", "180s"),
        *("--namespace", gateway.namespace),
    )


def condition(autoscaler: dict[str, Any], kind: str) -> str | None:
    """Return the reason in an autoscaler's condition of type `kind`, or None without this condition."""
    conditions = autoscaler.get("status", {}).get("conditions", [])
    return next((each["reason"] for each in conditions if each["type"] == kind), None)


def test_fixed_number_of_replicas_replaces_scaling_by_hand(
    cluster: Cluster, gateway: Release
) -> None:
    """Helm 3 restores the chart's number of replicas. Helm 4 refuses the upgrade and names the field, unless forced."""
    gateway.install(*FIXED)
    gateway.scale("gateway", 5)
    if gateway.program == "helm4":
        with pytest.raises(CommandError, match=r"(?s)conflict.*\.spec\.replicas"):
            gateway.upgrade(*FIXED)
        gateway.upgrade(*FIXED, "--force-conflicts")
    else:
        gateway.upgrade(*FIXED)
    assert gateway.replicas("gateway") == 3


def test_autoscaler_that_is_turned_on_later_raises_the_replicas_from_one(
    cluster: Cluster, gateway: Release
) -> None:
    """When the chart no longer sets the number, Kubernetes sets it to one. Then the autoscaler raises the number."""
    gateway.install(*FIXED)
    gateway.upgrade()
    cluster.wait(lambda: gateway.replicas("gateway") == 3, "the autoscaler's minimum")


def test_replicas_spread_over_zones(cluster: Cluster, gateway: Release) -> None:
    """The three replicas run in three zones, so the loss of a zone stops only one replica."""
    gateway.install()
    cluster.wait(lambda: len(ready_nodes(cluster, gateway)) == 3, "three ready replicas")
    assert len(set(ready_nodes(cluster, gateway))) == 3


def ready_nodes(cluster: Cluster, release: Release) -> list[str]:
    """Return the node of each ready pod of a release."""
    pods = cluster.get(
        *("pods", "--namespace", release.namespace),
        *("--selector", "app.kubernetes.io/name=svgx-gateway"),
    )["items"]
    return [
        pod["spec"]["nodeName"]
        for pod in pods
        if any(each.get("ready") for each in pod["status"].get("containerStatuses", []))
        and "deletionTimestamp" not in pod["metadata"]
    ]


@pytest.mark.parametrize(
    ("cpu", "memory", "replicas"),
    [
        # Three replicas at 116 % and 117 % of the requested 250m need 4.97 and 5.01 replicas at 70 %.
        ("290m", "10Mi", 5),
        ("293m", "10Mi", 6),
        # At 133 % and 134 % of the requested 512Mi, they need 4.99 and 5.03 replicas at 80 %.
        ("10m", "681Mi", 5),
        ("10m", "687Mi", 6),
        ("10m", "10Mi", 3),
    ],
)
def test_autoscaler_follows_the_service_container_only(
    *,
    cluster: Cluster,
    helms: dict[str, Helm],
    namespace: str,
    cpu: str,
    memory: str,
    replicas: int,
) -> None:
    """The targets are 70 % CPU and 80 % memory. An idle second container does not change the number of replicas."""
    release = Release(cluster, "helm4", helms["helm4"].charts, "gateway", namespace, NATS)
    sidecar = (
        '[{"name": "proxy", "image": "example.com/proxy:1", '
        '"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}, '
        '"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]'
    )
    pod_metrics.define(cluster)
    release.install(
        *("--set-json", f"extraContainers={sidecar}"),
        *("--set", "autoscaling.behavior.scaleUp.stabilizationWindowSeconds=0"),
    )
    cluster.wait(lambda: len(ready_nodes(cluster, release)) == 3, "three ready replicas")
    pod_metrics.report(cluster, namespace, cpu=cpu, memory=memory)
    arguments = ("hpa", "svgx-gateway", "--namespace", namespace)
    cluster.wait(
        lambda: condition(cluster.get(*arguments), "ScalingActive") == "ValidMetricFound",
        "the autoscaler has measurements",
    )
    cluster.wait(
        lambda: cluster.get(*arguments)["status"]["desiredReplicas"] == replicas,
        f"{replicas} replicas",
    )
    release.uninstall()
