"""The commands of the operations guide and of the chart's notes work as written, with the names of the services."""

import re
import shlex
import sys
from collections.abc import Iterator

import pytest
import yaml

from deploy.build.charts import MANIFESTS
from deploy.build.helm import Helm
from deploy.build.tools import ROOT
from deploy.build.values import SERVICES
from tests.deploy.cluster import pod_metrics
from tests.deploy.cluster.cluster import Cluster
from tests.deploy.cluster.releases import TRIAL, Release

QUICK_START = """
kubectl create namespace svgx

kubectl create secret generic svgx-secrets \\
  --from-literal=redis-url="redis://redis-cluster:6379/0" \\
  --from-literal=postgres-url="postgresql://user:pass@postgres:5432/svgx" \\
  --from-literal=jwt-secret="your-super-secret-jwt-key" \\
  -n svgx

docker run --rm registry.example.com/svgx/gateway:0.1.0 nats-keys --format secret | kubectl apply -n svgx -f -

kubectl apply -f k8s/deployment.yaml
kubectl apply -f k8s/ingress.yaml
kubectl apply -f k8s/monitoring.yaml
"""
"""The guide's quick start. The command with `docker` is the only addition."""

ISSUER = """
kubectl apply -f - <<EOF
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata:
  name: letsencrypt-prod
spec:
  acme:
    server: https://acme-v02.api.letsencrypt.org/directory
    email: admin@your-domain.com
    privateKeySecretRef:
      name: letsencrypt-prod
    solvers:
    - http01:
        ingress:
          class: nginx
EOF
"""

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
"""The guide's commands that need only the API server, each with a part of its output. `svgx-engine` is a service."""


@pytest.fixture(scope="module")
def installation(cluster: Cluster) -> Iterator[Cluster]:
    """Follow the guide's quick start, and wait until all pods are ready."""
    put_docker(cluster)
    try:
        cluster.shell(QUICK_START, folder=ROOT)
        cluster.shell("kubectl rollout status deployment -n svgx --timeout=180s")
        pod_metrics.define(cluster)
        pod_metrics.report(cluster, "svgx", cpu="100m", memory="100Mi")
        yield cluster
    finally:
        cluster.kubectl("delete", "namespace", "svgx", "--ignore-not-found", "--wait")


def put_docker(cluster: Cluster) -> None:
    """Put a program `docker` on PATH that runs the gateway's command without a container."""
    program = cluster.programs / "docker"
    program.write_text(
        f'#!/bin/sh\nshift 3\nexec {shlex.quote(sys.executable)} -m svgx_gateway "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_the_guide_works(installation: Cluster, command: str, service: str) -> None:
    """Every command runs as the guide writes it, with the name of one of the four services."""
    selector = f"app.kubernetes.io/name=svgx-{service}"
    deployment = f"deployment/svgx-{service}"
    installation.kubectl("rollout", "status", deployment, "--namespace", "svgx", "--timeout=180s")
    pods = installation.get("pods", "--namespace", "svgx", "--selector", selector)["items"]
    names = {"service": service, "pod": pods[0]["metadata"]["name"] if pods else ""}
    if "{pod}" in command:
        assert pods
    output = installation.shell(command.format_map(names))
    assert COMMANDS[command].format_map(names) in output


def test_cluster_issuer_of_the_guide_is_accepted(installation: Cluster) -> None:
    """The ingress of the manifests names this issuer."""
    assert "created" in installation.shell(ISSUER)
    (ingress,) = installation.get("ingress", "--namespace", "svgx")["items"]
    annotations = ingress["metadata"]["annotations"]
    assert annotations["cert-manager.io/cluster-issuer"] == "letsencrypt-prod"
    installation.kubectl("delete", "clusterissuer", "letsencrypt-prod")


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
    """`helm install` prints commands for the next steps, which can be copied."""
    put_docker(cluster)
    release = Release(cluster, program, helms[program].charts, "svgx", namespace, TRIAL)
    notes = release.install()
    commands = [
        found.replace("<a strong password>", "a strong password")
        for found in re.findall(r"(?m)(?:^ +|: )((?:kubectl|helm|docker) (?:.*\\\n)*.*)$", notes)
    ]
    assert len(commands) >= 5
    for command in commands:
        cluster.shell(command)
    cluster.kubectl(
        *("rollout", "status", "deployment/svgx-auth", "--timeout", "180s"),
        *("--namespace", namespace),
    )
    (pod, *_) = cluster.get(
        *("pods", "--namespace", namespace, "--selector", "app.kubernetes.io/name=svgx-auth")
    )["items"]
    assert "SVGX_ADMIN_PASSWORD" in yaml.safe_dump(pod["spec"])
    release.uninstall()
