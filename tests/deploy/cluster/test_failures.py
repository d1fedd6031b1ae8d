"""Installations and upgrades that cannot succeed, limits of a namespace, and the drain of a node."""

import pytest

from deploy.build.helm import Helm
from tests.deploy.cluster.cluster import Cluster, CommandError
from tests.deploy.cluster.conftest import create_secrets
from tests.deploy.cluster.releases import NATS, TRIAL, Release

BROKEN = ("--set", "image.tag=broken", "--timeout", "8s")
ROLL_BACK = {"helm3": "--atomic", "helm4": "--rollback-on-failure"}
ALL_PODS = 4 * 3 + 1 + 3
"""Three replicas of each of the four services, one reserved replica of collab, and three NATS servers."""


def test_upgrade_to_a_broken_image_is_rolled_back_without_stopping_a_replica(
    cluster: Cluster, gateway: Release
) -> None:
    """All old replicas run until new replicas are ready, and Helm restores the last good revision."""
    gateway.install()
    cluster.wait(lambda: gateway.replicas("gateway") == 3, "the autoscaler's minimum")
    cluster.wait(lambda: len(ready(cluster, gateway)) == 3, "three ready replicas")
    before = ready(cluster, gateway)
    with pytest.raises(CommandError):
        gateway.upgrade(*BROKEN)
    assert ready(cluster, gateway) == before
    with pytest.raises(CommandError):
        gateway.upgrade(*BROKEN, ROLL_BACK[gateway.program])
    assert ready(cluster, gateway) == before
    assert "deployed" in gateway.run("status")


def ready(cluster: Cluster, release: Release) -> set[str]:
    """Return the names of the ready pods of a release."""
    pods = cluster.get("pods", "--namespace", release.namespace)["items"]
    return {
        pod["metadata"]["name"]
        for pod in pods
        if any(each.get("ready") for each in pod["status"].get("containerStatuses", []))
        and "deletionTimestamp" not in pod["metadata"]
    }


def test_pods_wait_for_missing_secrets(
    cluster: Cluster, helms: dict[str, Helm], program: str
) -> None:
    """The secrets may be created after the installation.

    The pods start when the secrets exist. Until then, the status of the pods shows the reason.
    """
    with cluster.namespace(f"without-secrets-{program}") as namespace:
        release = Release(cluster, program, helms[program].charts, "svgx", namespace, TRIAL)
        with pytest.raises(CommandError):
            release.install("--timeout", "5s")
        pods = cluster.kubectl("get", "pods", "--namespace", namespace)
        assert "CreateContainerConfigError" in pods
        create_secrets(cluster, namespace)
        release.upgrade()
        release.uninstall()


QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "team"},
    "spec": {
        "hard": {
            "requests.cpu": "20",
            "requests.memory": "40Gi",
            "limits.cpu": "40",
            "limits.memory": "80Gi",
            "pods": "60",
        }
    },
}
LIMITS = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "team"},
    "spec": {
        "limits": [
            {
                "type": "Container",
                "min": {"cpu": "10m", "memory": "32Mi"},
                "max": {"cpu": "4", "memory": "4Gi"},
            }
        ]
    },
}


def test_everything_runs_in_a_namespace_with_quota_and_limits(
    cluster: Cluster, helms: dict[str, Helm], namespace: str, program: str
) -> None:
    """With a quota, Kubernetes refuses each pod without requests and limits for CPU and memory."""
    release = Release(cluster, program, helms[program].charts, "svgx", namespace, TRIAL)
    for each in (QUOTA, LIMITS):
        cluster.apply({**each, "metadata": {"name": "team", "namespace": namespace}})
    release.install()
    release.run("test")
    release.uninstall()


def test_quota_that_is_used_up_is_reported(
    cluster: Cluster, helms: dict[str, Helm], namespace: str
) -> None:
    """Kubernetes enforces quotas: with a smaller quota than in the test above, no pod starts."""
    release = Release(cluster, "helm4", helms["helm4"].charts, "gateway", namespace, NATS)
    quota = {**QUOTA, "metadata": {"name": "team", "namespace": namespace}}
    cluster.apply({**quota, "spec": {"hard": {"limits.memory": "500Mi"}}})
    with pytest.raises(CommandError):
        release.install("--timeout", "5s")
    deployment = cluster.get("deployment", "svgx-gateway", "--namespace", namespace)
    assert "exceeded quota" in str(deployment["status"]["conditions"])


def test_node_is_drained_within_the_disruption_budgets(
    cluster: Cluster, helms: dict[str, Helm], namespace: str
) -> None:
    """`kubectl drain` respects the disruption budgets and ends; the pods move to the other nodes."""
    release = Release(cluster, "helm4", helms["helm4"].charts, "svgx", namespace)
    release.install()
    cluster.wait(lambda: len(ready(cluster, release)) == ALL_PODS, "all replicas")
    node = "node-zone-a"
    try:
        output = cluster.kubectl("drain", node, "--delete-emptydir-data", "--timeout", "180s")
        assert "evicted" in output
        cluster.wait(lambda: len(ready(cluster, release)) == ALL_PODS, "all replicas again")
        pods = cluster.get("pods", "--namespace", namespace)["items"]
        assert node not in {pod["spec"]["nodeName"] for pod in pods}
    finally:
        cluster.kubectl("uncordon", node)
    release.uninstall()
