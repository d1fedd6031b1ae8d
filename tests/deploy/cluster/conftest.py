"""Fixtures with a real API server. `make cluster-check` runs these tests; `make test` does not collect them."""

import itertools
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.build.helm import Helm
from tests.deploy.cluster import nodes, programs
from tests.deploy.cluster.cluster import Cluster
from tests.deploy.cluster.control_plane import ControlPlane
from tests.deploy.cluster.releases import NATS, Release

VOLUMES = 12
"""The number of volumes that are created before the tests, because no storage provider runs."""


@pytest.fixture(scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Start Kubernetes, and return commands for it.

    The API server, the controllers and the scheduler are real. Nodes report pods as running, but start no container.
    Custom resources of the Prometheus operator, the Gateway API and cert-manager are defined.

    - `cluster.kubectl("get", "pods", "-n", "svgx")` runs kubectl with separate arguments and returns its output.
    - `cluster.shell("kubectl get pods -n svgx")` runs an unchanged command of a document.
    - `with cluster.namespace("svgx")` creates a namespace that enforces the standard `restricted`, and deletes it.
    - In `cluster.shell`, `svgx-gateway` and `docker run --rm IMAGE` run the gateway's commands, without a container.
    """
    reason = programs.missing_compiler()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    programs.install()
    folder = tmp_path_factory.mktemp("cluster")
    async with ControlPlane(folder) as control_plane:
        with nodes.run(control_plane):
            found = Cluster(control_plane, folder)
            _put_gateway(found.programs)
            for path in programs.definition_files():
                found.kubectl("apply", "--server-side", "--filename", str(path))
            found.kubectl(
                "wait", "--for", "condition=established", "customresourcedefinitions", "--all"
            )
            found.apply(_STORAGE_CLASS, *(_volume(number) for number in range(VOLUMES)))
            yield found


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Create a namespace with the secrets of an installation, and delete the namespace at the end of the test."""
    number = next(_NAMESPACE_NUMBERS)
    with cluster.namespace(f"svgx-{number}") as name:
        create_secrets(cluster, name)
        yield name


def _put_gateway(folder: Path) -> None:
    """Put the gateway's program and a substitute for `docker` into a folder. The substitute runs the program."""
    (folder / "svgx-gateway").symlink_to(Path(sys.executable).with_name("svgx-gateway"))
    docker = folder / "docker"
    docker.write_text('#!/bin/sh\nshift 3\nexec svgx-gateway "$@"\n', encoding="utf-8")
    docker.chmod(0o755)


def create_secrets(cluster: Cluster, namespace: str) -> None:
    """Create the secrets that the pods need, as deploy/README.md describes."""
    cluster.shell(
        f"""
        kubectl create secret generic svgx-secrets \\
          --from-literal=redis-url="redis://redis-cluster:6379/0" \\
          --from-literal=postgres-url="postgresql://user:pass@postgres:5432/svgx" \\
          --from-literal=jwt-secret="$(openssl rand -hex 32)" \\
          -n {namespace}
        svgx-gateway nats-keys --format secret | kubectl apply -n {namespace} -f -
        """
    )


@pytest.fixture(params=["helm3", "helm4"])
def program(request: pytest.FixtureRequest) -> str:
    """Return `helm3` or `helm4`. Each test with this fixture runs once with each version."""
    return str(request.param)


@pytest.fixture
def gateway(cluster: Cluster, helms: dict[str, Helm], namespace: str, program: str) -> Release:
    """Return a release of the gateway that is not installed yet."""
    return Release(cluster, program, helms[program].charts, "gateway", namespace, NATS)


_NAMESPACE_NUMBERS = itertools.count(1)

_STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": "test",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": "kubernetes.io/no-provisioner",
}


def _volume(number: int) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"volume-{number}"},
        "spec": {
            "storageClassName": "test",
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "hostPath": {"path": "/tmp"},
        },
    }
