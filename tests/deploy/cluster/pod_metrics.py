"""Measurements of pods for `kubectl top` and autoscalers.

A custom resource replaces the API of the metrics server, because no container runs that could be measured.
"""

from datetime import UTC, datetime

from tests.deploy.cluster.cluster import Cluster

_GROUP = "metrics.k8s.io"
_DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": f"pods.{_GROUP}",
        # Kubernetes protects its own groups. Only tests define resources in them.
        "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
    },
    "spec": {
        "group": _GROUP,
        "scope": "Namespaced",
        "names": {"plural": "pods", "kind": "PodMetrics"},
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


def define(cluster: Cluster) -> None:
    """Define the resource."""
    cluster.apply(_DEFINITION)
    cluster.kubectl(
        "wait", "--for", "condition=established", f"customresourcedefinition/pods.{_GROUP}"
    )


def report(cluster: Cluster, namespace: str, *, cpu: str, memory: str, others: str = "1m") -> None:
    """Report the use of the first container of each pod. Other containers use `others` of the processor and 1 MiB."""
    cluster.apply(
        *(
            {
                "apiVersion": f"{_GROUP}/v1beta1",
                "kind": "PodMetrics",
                "metadata": {
                    "name": pod["metadata"]["name"],
                    "namespace": namespace,
                    "labels": pod["metadata"]["labels"],
                },
                "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "window": "30s",
                "containers": [
                    {
                        "name": container["name"],
                        "usage": {"cpu": others, "memory": "1Mi"}
                        if number
                        else {"cpu": cpu, "memory": memory},
                    }
                    for number, container in enumerate(pod["spec"]["containers"])
                ],
            }
            for pod in cluster.get("pods.v1.", "--namespace", namespace)["items"]
        )
    )
