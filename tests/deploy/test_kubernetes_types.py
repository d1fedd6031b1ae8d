"""Every object of the charts is valid for the oldest and the newest Kubernetes, and has no unknown field.

The types of the Kubernetes API come from npm. The TypeScript compiler refuses unknown fields. The JSON schemas of
Kubernetes permit unknown fields.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.build import charts
from deploy.build.helm import Helm
from tests.deploy.objects import parse_objects

FOLDER = Path(__file__).with_name("kubernetes")
CUSTOM = {
    "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
    "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
}
"""The npm package with the types of each API group that is not part of Kubernetes."""

EVERYTHING = (
    "--values=svgx/values-dev.yaml",
    "--values=svgx/values-production.yaml",
    "--set=gateway.httpRoute.enabled=true,gateway.httpRoute.parentRefs[0].name=public",
    "--set=gateway.autoscaling.enabled=true,gateway.autoscaling.connectionsPerReplica=500",
    "--set=auth.disruptionBudget.enabled=true,global.imagePullSecrets[0]=registry",
    "--set=auth.config.auth.oidc_providers=x,auth.priorityClassName=high",
    "--set=auth.extraEnv[0].name=X,auth.extraEnv[0].value=x,auth.nodeSelector.disk=ssd",
    "--set=auth.extraVolumes[0].name=x,auth.extraVolumes[0].emptyDir.medium=Memory",
    "--set=backup.extraVolumes[0].name=x,backup.extraVolumes[0].secret.secretName=x",
    "--set=backup.extraVolumeMounts[0].name=x,backup.extraVolumeMounts[0].mountPath=/x",
    "--set=auth.tolerations[0].key=x,auth.tolerations[0].operator=Exists",
    "--set=auth.migration.enabled=true,state.migration.enabled=true",
    "--set=collab.reserved.replicaCount=1,gateway.config.gateway.metrics_port=9100",
    "--set=state.nodeSelector.disk=ssd,state.podLabels.team=x,state.podAnnotations.note=x",
    "--set=state.serviceAccount.create=false,state.serviceAccount.name=team",
    "--set=state.tolerations[0].key=x,state.tolerations[0].operator=Exists",
    "--set=valkey.priorityClassName=high,postgresql.nodeSelector.disk=ssd",
    "--set=postgresql.tolerations[0].key=x,nats.podAnnotations.note=x",
)
"""Values that render every kind of object, and optional fields that the default values do not render."""


@pytest.mark.parametrize(("version", "package"), [("1.24", "oldest"), ("1.37", "newest")])
def test_objects_have_the_types_of_kubernetes(
    helms: dict[str, Helm], node: Path, tmp_path: Path, version: str, package: str
) -> None:
    """An object of an unknown kind fails too, because the module of its type does not exist."""
    rendered = helms["helm4"].template("svgx", "--kube-version", version, *EVERYTHING)
    objects = parse_objects(rendered)
    result = type_errors(node, tmp_path, package, objects)
    assert result == ""
    assert {each["kind"] for each in objects} >= {
        "HTTPRoute",
        "Job",
        "PrometheusRule",
        "StatefulSet",
    }


@pytest.mark.parametrize("package", ["oldest", "newest"])
def test_manifests_have_the_types_of_kubernetes(node: Path, tmp_path: Path, package: str) -> None:
    """kubectl refuses unknown fields, and the files in `k8s/` are for every version from the oldest one on."""
    texts = [path.read_text(encoding="utf-8") for path in charts.MANIFESTS.glob("*.yaml")]
    objects = [each for text in texts for each in parse_objects(text)]
    assert len(objects) > 30
    assert type_errors(node, tmp_path, package, objects) == ""


def test_wrong_objects_have_type_errors(node: Path, tmp_path: Path) -> None:
    """`type_errors` finds unknown fields, wrong types and unknown kinds."""
    selector = {"matchLabels": {"app": "x"}}
    template = {"spec": {"containers": [{"name": "x", "image": "x"}]}}
    spec = {"selector": selector, "template": template}
    right = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": spec,
    }
    changes: list[dict[str, Any]] = [
        {"spec": {**spec, "replicass": 1}},
        {"spec": {**spec, "replicas": "one"}},
        {"spec": {"template": template}},
        {"kind": "Deploymint"},
        {"apiVersion": "apps/v7"},
        {"metadata": {"name": "x", "label": {}}},
    ]
    objects = [right, *({**right, **change} for change in changes)]
    errors = type_errors(node, tmp_path, "newest", objects)
    lines = {int(number) for number in re.findall(r"objects\.ts\((\d+),", errors)}
    assert lines == {number + 2 for number in range(len(changes))}


def type_errors(node: Path, folder: Path, package: str, objects: list[dict[str, Any]]) -> str:
    """Return the errors of the TypeScript compiler for a file that declares each object with its type."""
    lines = []
    for number, each in enumerate(objects):
        group = each["apiVersion"].rpartition("/")[0]
        module = f"{CUSTOM.get(group, package)}/{each['apiVersion']}/{each['kind']}"
        kind = f"import({json.dumps(module)}).I{each['kind']}"
        lines.append(f"export const object{number}: {kind} = {json.dumps(each)};")
    source = folder / "objects.ts"
    source.write_text("\n".join(lines), encoding="utf-8")
    modules = folder / "node_modules"
    if not modules.exists():
        modules.symlink_to(FOLDER / "node_modules")
    compiler = FOLDER / "node_modules" / "typescript" / "bin" / "tsc"
    options = ("--noEmit", "--strict", "--skipLibCheck", "--module", "commonjs")
    resolution = ("--moduleResolution", "node10", "--target", "es2022", "--preserveSymlinks")
    result = subprocess.run(
        [str(node), str(compiler), *options, *resolution, str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout + result.stderr


def test_goldens_have_ingress_monitoring_autoscaler_and_servers() -> None:
    """The production values have an ingress and monitoring; the trial values have the servers."""
    kinds = {
        each["kind"]
        for golden in charts.GOLDENS
        for each in parse_objects((charts.RENDERED / golden).read_text(encoding="utf-8"))
    }
    assert kinds >= {"Ingress", "ServiceMonitor", "StatefulSet", "HorizontalPodAutoscaler"}
