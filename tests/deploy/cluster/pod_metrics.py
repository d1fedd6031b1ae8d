"""Measurements of pods for `kubectl top` and autoscalers.

A custom resource replaces the API of the metrics server, because the pods run no containers to measure.
"""

from datetime import UTC, datetime

from tests.deploy.cluster.cluster import Cluster

_GROUP = "metrics.k8s.io"
_DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": f"pods.{_GROUP}",
        # Kubernetes requires this annotation for a resource in one of its own groups.
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
    """Define the custom resource, and wait until the API server has established it."""
    cluster.apply(_DEFINITION)
    cluster.kubectl(
        "wait", "--for", "condition=established", f"customresourcedefinition/pods.{_GROUP}"
    )


def report(cluster: Cluster, namespace: str, *, cpu: str, memory: str, others: str = "1m") -> None:
    """Report `cpu` and `memory` for each pod's first container, and `others` CPU and 1 MiB for its other containers."""
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
