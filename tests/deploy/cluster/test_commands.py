"""kubectl commands for an installation without Helm, and the commands in the chart's notes.

`test_operations.py` executes the commands of docs/operations.md. This file runs such commands for every service, and
checks their output.
"""

import re
from collections.abc import Iterator

import pytest

from deploy.build.charts import MANIFESTS
from deploy.build.helm import Helm
from deploy.build.values import SERVICES
from tests.deploy.cluster import pod_metrics
from tests.deploy.cluster.cluster import Cluster
from tests.deploy.cluster.conftest import create_secrets
from tests.deploy.cluster.releases import TRIAL, Release

COMMANDS = {
    "kubectl get pods -n svgx": "Running",
    "kubectl get services -n svgx": "svgx-{service}",
    "kubectl get ingress -n svgx": "svgx-gateway",
    "kubectl top pods -n svgx": "svgx-{service}-",
    "kubectl describe pod {pod} -n svgx": "Limits:",
    "kubectl logs -f deployment/svgx-{service} -n svgx": "/{service}",
    "kubectl logs -f deployment/svgx-{service} -n svgx | grep websocket": "/{service}",
    "kubectl logs --tail=100 deployment/svgx-{service} -n svgx": "/{service}",
    "kubectl logs {pod} -n svgx": "{pod}/{service}",
    "kubectl logs deployment/svgx-{service} -n svgx --timestamps": "/{service}",
    "kubectl logs deployment/svgx-{service} -n svgx | grep ERROR": "/{service}",
    "kubectl logs deployment/svgx-{service} -n svgx --since=1h": "/{service}",
    'kubectl logs deployment/svgx-{service} -n svgx | grep "user_id=123"': "/{service}",
    "kubectl scale deployment svgx-{service} --replicas=5 -n svgx": "scaled",
    "kubectl scale deployment svgx-{service} --replicas=0 -n svgx": "scaled",
    "kubectl scale deployment svgx-{service} --replicas=3 -n svgx": "scaled",
}
"""Commands that need no running container, each with a text that its output must contain."""


@pytest.fixture(scope="module")
def installation(cluster: Cluster) -> Iterator[Cluster]:
    """Install the manifests with kubectl alone, and wait until all pods are ready."""
    with cluster.namespace("svgx"):
        create_secrets(cluster, "svgx")
        for path in sorted(MANIFESTS.glob("*.yaml")):
            cluster.kubectl("apply", "--filename", str(path))
        cluster.shell("kubectl rollout status deployment -n svgx --timeout=180s")
        pod_metrics.define(cluster)
        pod_metrics.report(cluster, "svgx", cpu="100m", memory="100Mi")
        yield cluster


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("command", COMMANDS)
def test_command_works(installation: Cluster, command: str, service: str) -> None:
    """Every command works with the name of each of the four services."""
    selector = f"app.kubernetes.io/name=svgx-{service}"
    deployment = f"deployment/svgx-{service}"
    installation.kubectl("rollout", "status", deployment, "--namespace", "svgx", "--timeout=180s")
    pods = installation.get("pods", "--namespace", "svgx", "--selector", selector)["items"]
    names = {"service": service, "pod": pods[0]["metadata"]["name"] if pods else ""}
    if "{pod}" in command:
        assert pods
    output = installation.shell(command.format_map(names))
    assert COMMANDS[command].format_map(names) in output


def test_manifests_are_removed_with_kubectl(installation: Cluster) -> None:
    """`kubectl delete` with the same files removes everything except the secrets."""
    for path in sorted(MANIFESTS.glob("*.yaml")):
        installation.kubectl("delete", "--filename", str(path), "--wait")
    left = {"Secret/svgx-secrets", "Secret/svgx-nats"}
    installation.wait(lambda: installation.objects("svgx") == left, "only the secrets are left")
    for path in sorted(MANIFESTS.glob("*.yaml")):
        installation.kubectl("apply", "--filename", str(path))


def test_commands_of_the_notes_work(
    cluster: Cluster, helms: dict[str, Helm], namespace: str, program: str
) -> None:
    """The commands that `helm install` prints for the next steps work unchanged."""
    release = Release(cluster, program, helms[program].charts, "svgx", namespace, TRIAL)
    notes = release.install()
    commands = re.findall(r"(?m)(?:^ +|: )((?:kubectl|helm|docker) (?:.*\\\n)*.*)$", notes)
    assert len(commands) == 4
    for command in commands:
        # `kubectl exec` fails, because the nodes start no containers. tests/deploy/operations runs `create-admin`.
        if "kubectl exec" not in command:
            cluster.shell(command)
    release.uninstall()
