"""Connections between pods, filtered by the charts' NetworkPolicies. `make network-check` runs these tests.

The API server, the controllers and kube-router are real. A pod is a network namespace that accepts connections at the
ports of its containers. Each pod tries each port of each other pod.
"""

import contextlib
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deploy.build.helm import Helm
from svgx_devstack.ports import choose
from svgx_devstack.process import Process
from svgx_devstack.program import Program
from tests.deploy.cluster.cluster import Cluster
from tests.deploy.cluster.conftest import create_secrets
from tests.deploy.cluster.releases import TRIAL, Release
from tests.deploy.go_program import KUBE_ROUTER
from tests.deploy.network.pods import Pod, running

pytestmark = pytest.mark.timeout(600)

BACKUPS = "backup.enabled=true,state.backup.enabled=true,state.backup.url=s3://bucket"
METRICS = "gateway.config.gateway.metrics_port=9100"
NAME = "app.kubernetes.io/name"

PORTS = {
    "gateway": (8000, 9100),
    "auth": (8000,),
    "collab": (8000,),
    "collab-reserved": (8000,),
    "state": (8000,),
    "nats": (4222, 6222, 8222),
    "postgresql": (5432,),
    "valkey": (6379,),
    "backup": (8000,),
    "state-backup": (8000,),
    "dns": (53,),
    "ingress": (8000,),
    "prometheus": (8000,),
    "stranger": (8000,),
    "neighbour": (8000,),
}
"""The ports at which each pod accepts connections."""

STAND_INS = {
    "dns": ("kube-system", {}),
    "ingress": ("ingress-nginx", {}),
    "prometheus": ("monitoring", {}),
    "stranger": ("elsewhere", {}),
    "neighbour": ("svgx", {}),
    "backup": ("svgx", {NAME: "svgx-backup", "app.kubernetes.io/instance": "svgx"}),
    "state-backup": ("svgx", {NAME: "svgx-state-backup", "app.kubernetes.io/instance": "svgx"}),
}
"""Namespace and labels of the pods that the tests create. Two of these pods have the labels of the backup jobs."""

FLOWS = {
    "gateway": {("nats", 4222), ("valkey", 6379)},
    "auth": {("nats", 4222), ("postgresql", 5432)},
    "collab": {("nats", 4222), ("valkey", 6379)},
    "collab-reserved": {("nats", 4222), ("valkey", 6379)},
    "state": {("nats", 4222), ("postgresql", 5432), ("valkey", 6379)},
    "nats": set[tuple[str, int]](),
    "postgresql": set[tuple[str, int]](),
    "valkey": set[tuple[str, int]](),
    "backup": {("postgresql", 5432)},
    "state-backup": {("nats", 4222), ("postgresql", 5432)},
    "ingress": {("gateway", 8000)},
    "prometheus": {
        ("gateway", 9100),
        *((service, 8000) for service in ("auth", "collab", "collab-reserved", "state")),
    },
    "stranger": set[tuple[str, int]](),
    "neighbour": set[tuple[str, int]](),
    "dns": set[tuple[str, int]](),
}
"""The connections that each pod may open to pods of the charts. All other connections to these must be refused."""

UNPROTECTED = {"dns", "ingress", "prometheus", "stranger", "neighbour"}
"""Pods without a policy of their own. They accept each connection that the policy of the opening pod permits."""

WITHOUT_DNS = {"postgresql", "valkey"}
"""Pods that open no connection, so they need no DNS."""


@pytest.fixture(scope="module")
async def pods(
    cluster: Cluster, helms: dict[str, Helm], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Pod]]:
    """Install the umbrella chart, give its pods a network, and filter the network with kube-router."""
    with ExitStack() as stack:
        for name in ("svgx", "ingress-nginx", "monitoring", "elsewhere"):
            stack.enter_context(cluster.namespace(name))
        create_secrets(cluster, "svgx")
        arguments = (*TRIAL, "--set", f"{BACKUPS},{METRICS}")
        Release(cluster, "helm4", helms["helm4"].charts, "svgx", "svgx", arguments).install()
        cluster.apply(*(stand_in(each) for each in STAND_INS))
        for name, (namespace, _) in STAND_INS.items():
            cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", namespace)
        found = addresses(cluster)
        started = stack.enter_context(running([(found[name], PORTS[name]) for name in PORTS]))
        router = kube_router(cluster, tmp_path_factory.mktemp("kube-router"))
        await router.start()
        try:
            await router.wait_ready(60, max_exits=0)
            yield dict(zip(PORTS, started, strict=True))
        finally:
            router.restart = False
            await router.stop()


def stand_in(name: str) -> dict[str, Any]:
    """Return the manifest of a pod of `STAND_INS`."""
    namespace, labels = STAND_INS[name]
    container = {
        "name": "main",
        "image": "example.com/none:1",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": [container]},
    }


def addresses(cluster: Cluster) -> dict[str, str]:
    """Return the address of one pod of each workload, and of each pod of `STAND_INS`."""
    found = {}
    for pod in cluster.get("pods", "--all-namespaces")["items"]:
        metadata = pod["metadata"]
        name = metadata["name"]
        if name not in STAND_INS:
            name = metadata["labels"].get(NAME, "").removeprefix("svgx-")
        if name in PORTS and pod["status"]["phase"] == "Running":
            found[name] = pod["status"]["podIP"]
    return found


def kube_router(cluster: Cluster, folder: Path) -> Process:
    """Return kube-router as a process that only filters packets."""
    health = choose()
    options = {
        "kubeconfig": cluster.environment()["KUBECONFIG"],
        "hostname-override": "node-zone-a",
        "run-firewall": "true",
        "run-router": "false",
        "run-service-proxy": "false",
        "run-loadbalancer": "false",
        "enable-cni": "false",
        "enable-ipv6": "false",
        "service-cluster-ip-range": "10.96.0.0/16",
        "health-port": str(health),
        "metrics-port": "0",
    }

    async def ready() -> bool:
        # kube-router counts as ready at once, because the test waits until the connections are filtered.
        return True

    return Process(
        Program(
            name="kube-router",
            argv=(str(KUBE_ROUTER.path), *(f"--{name}={value}" for name, value in options.items())),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder)},
            log_path=folder / "kube-router.log",
            pid_path=folder / "kube-router.pid",
            ready=ready,
        )
    )


def test_pods_open_exactly_the_permitted_connections(
    cluster: Cluster, pods: dict[str, Pod]
) -> None:
    """Each connection that `expected` permits is opened, and each other connection is refused. Proves R-DUMP-5."""
    with contextlib.suppress(TimeoutError):
        cluster.wait(
            lambda: differences(pods) == [],
            "kube-router filters the traffic of all pods",
            seconds=60,
        )
    assert differences(pods) == []


def differences(pods: dict[str, Pod]) -> list[str]:
    """Return a line for each connection that is open but must be refused, or is refused but must be open."""
    found = []
    for source, pod in pods.items():
        targets = [
            (name, port) for name, each in pods.items() for port in each.ports if name != source
        ]
        opened = pod.opened([(pods[name].address, port) for name, port in targets])
        for (name, port), is_open in zip(targets, opened, strict=True):
            if is_open != expected(source, name, port):
                state = "open" if is_open else "refused"
                found.append(f"{source} to {name}:{port} is {state}")
    return found


def expected(source: str, target: str, port: int) -> bool:
    """Return whether `source` must be able to connect to this port of `target`."""
    if target in UNPROTECTED:
        return source in UNPROTECTED or (target == "dns" and source not in WITHOUT_DNS)
    return (target, port) in FLOWS[source]
