"""The API server accepts every object of the charts without a warning, and reports mistakes that tests add."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.build import charts
from deploy.build.helm import NAMESPACE, Helm
from tests.deploy.cluster.cluster import Cluster, CommandError, Result
from tests.deploy.cluster.releases import NATS
from tests.deploy.objects import parse_objects, pod_templates

EVERYTHING = """
autoscaling: {connectionsPerReplica: 2000}
config:
  gateway: {trusted_proxies: 10.0.0.0/8, cors_origins: "https://draw.example.com", metrics_port: 9100}
existingSecret: own-secret
extraContainers:
  - name: proxy
    image: example.com/proxy:1
    securityContext: &container
      allowPrivilegeEscalation: false
      runAsNonRoot: true
      capabilities: {drop: [ALL]}
      seccompProfile: {type: RuntimeDefault}
extraEnv:
  - {name: LOG_LEVEL, value: DEBUG}
extraEnvFrom:
  - secretRef: {name: more, optional: true}
extraObjects:
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: more, namespace: "{{ .Release.Namespace }}"}
  - |
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: {{ .Release.Name }}-text
      namespace: {{ .Release.Namespace }}
extraVolumeMounts:
  - {name: more, mountPath: /more}
extraVolumes:
  - {name: more, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
global:
  imageRegistry: "registry.example.com:5000/mirror"
  serviceImageRegistry: "registry.example.com:5000/team"
  imagePullSecrets: [one]
httpRoute:
  enabled: true
  hostnames: [draw.example.com]
  parentRefs: [{name: public, namespace: gateways}]
image: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
imagePullSecrets: [two]
ingress:
  enabled: true
  className: nginx
  host: draw.example.com
  tls: {enabled: true, clusterIssuer: letsencrypt-prod}
monitoring:
  serviceMonitor: {enabled: true, labels: {release: prometheus}}
  alerts: {enabled: true, labels: {release: prometheus}}
  dashboards: {enabled: true, annotations: {folder: SVGX}}
networkPolicy:
  extraIngress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]
  extraEgress: [{to: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 443}]}]
nodeSelector: {kubernetes.io/os: linux}
podAnnotations: {note: "true"}
podLabels: {team: canvas}
priorityClassName: system-cluster-critical
service: {type: LoadBalancer, port: 8080, annotations: {note: "1"}}
serviceAccount: {annotations: {note: "1"}}
tolerations: [{key: dedicated, operator: Exists, effect: NoSchedule}]
tracing: {endpoint: "http://collector:4318", ratio: 0.1}
affinity:
  nodeAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 1
        preference: {matchExpressions: [{key: disk, operator: In, values: [fast]}]}
"""
"""Values of the gateway's chart that render all its objects, and fields that the default values do not render."""

LONG_NAME = "a-release-name-that-is-as-long-as-helm-permits-1-2-3x"

RENDERED = {
    "default": ("svgx",),
    "dev": ("svgx", *charts.GOLDENS["dev.yaml"]),
    "production": ("svgx", *charts.GOLDENS["production.yaml"]),
    "trial": ("svgx", "--set", "postgresql.enabled=true,valkey.enabled=true"),
    "fixed": ("svgx", "--set", "gateway.autoscaling.enabled=false,auth.autoscaling.enabled=false"),
    "auth": ("auth", *NATS),
    "collab": ("collab", *NATS),
    "gateway": ("gateway", *NATS),
    "state": ("state", *NATS),
    "everything": ("gateway", *NATS, "--values", "everything.yaml"),
}
"""Arguments of `helm template`, by the name of the case."""


@pytest.fixture(scope="module")
def svgx(cluster: Cluster) -> Iterator[str]:
    """Create the namespace for which the charts are rendered."""
    with cluster.namespace(NAMESPACE) as name:
        yield name


def check(cluster: Cluster, *objects: dict[str, Any]) -> Result:
    """Let the API server check objects strictly, without storing them."""
    return cluster.run(
        *("kubectl", "apply", "--dry-run=server", "--validate=strict", "--filename", "-"),
        stdin=yaml.safe_dump_all(objects),
    )


def render(helm: Helm, case: str, release: str) -> list[dict[str, Any]]:
    """Return the objects that Helm renders for a case of `RENDERED`."""
    (helm.charts / "everything.yaml").write_text(EVERYTHING, encoding="utf-8")
    chart, *arguments = RENDERED[case]
    found = parse_objects(helm.template(chart, *arguments, release=release))
    for each in pod_templates(found).values():
        # Without an installation, the service account does not exist, and the API server would refuse the pod.
        each["spec"].pop("serviceAccountName", None)
    return found


@pytest.mark.parametrize("release", ["svgx", LONG_NAME])
@pytest.mark.parametrize("case", RENDERED)
def test_every_object_is_accepted_without_a_warning(
    cluster: Cluster, helms: dict[str, Helm], svgx: str, case: str, release: str
) -> None:
    """Unknown fields, invalid values, deprecated versions and pods that are not `restricted` would be reported."""
    found = render(helms["helm4"], case, release)
    result = check(cluster, *found)
    assert len(result.output.splitlines()) == len(found)
    assert result.errors == ""


@pytest.mark.parametrize("case", RENDERED)
def test_every_pod_is_admitted_to_a_restricted_namespace(
    cluster: Cluster, helms: dict[str, Helm], svgx: str, case: str
) -> None:
    """Each pod template is checked as a pod, because the API server checks the pods of a Deployment only later."""
    pods = [
        pod(each)
        for each in render(helms["helm4"], case, "svgx")
        if "template" in each.get("spec", {})
    ]
    assert pods
    assert check(cluster, *pods).errors == ""


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    """Return a pod of a Deployment, StatefulSet or Job."""
    template = copy.deepcopy(workload["spec"]["template"])
    for volume in workload["spec"].get("volumeClaimTemplates", []):
        claim = {"claimName": volume["metadata"]["name"]}
        template["spec"]["volumes"].append(
            {"name": volume["metadata"]["name"], "persistentVolumeClaim": claim}
        )
    metadata = {"name": workload["metadata"]["name"], "namespace": NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], **metadata},
        "spec": template["spec"],
    }


@pytest.mark.parametrize(
    "path", sorted(charts.MANIFESTS.glob("*.yaml")), ids=lambda path: path.name
)
def test_manifest_for_kubectl_is_accepted_without_a_warning(
    cluster: Cluster, svgx: str, path: Path
) -> None:
    """The files of `k8s/` are for installations without Helm."""
    result = cluster.run(
        *("kubectl", "apply", "--dry-run=server", "--validate=strict", "-f", str(path))
    )
    assert result.errors == ""


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        (
            "Deployment",
            ("spec", "template", "spec", "hostNetwork"),
            True,
            "would violate PodSecurity",
        ),
        ("Deployment", ("spec", "replica"), 3, 'unknown field "spec.replica"'),
        ("Deployment", ("spec", "selector", "matchLabels"), {"a": "b"}, "selector"),
        ("Service", ("spec", "ports"), [{"port": 70000}], "70000"),
        ("HorizontalPodAutoscaler", ("spec", "minReplicas"), 20, "minReplicas"),
        ("PodDisruptionBudget", ("spec", "maxUnavailable"), "half", "half"),
        ("NetworkPolicy", ("spec", "policyTypes"), ["Both"], "Both"),
        ("ServiceMonitor", ("spec", "endpoint"), [], 'unknown field "spec.endpoint"'),
        ("PrometheusRule", ("spec", "groups"), [{"rules": []}], "name"),
        ("HTTPRoute", ("spec", "parentRefs"), [{}], "name"),
        ("Ingress", ("spec", "rules"), [{"host": "_"}], "host"),
        ("ConfigMap", ("data", "b c"), "", "b c"),
    ],
)
def test_mistake_in_an_object_is_found(
    *,
    cluster: Cluster,
    helms: dict[str, Helm],
    svgx: str,
    kind: str,
    path: tuple[str, ...],
    value: object,
    message: str,
) -> None:
    """The API server reports a mistake in each of these objects, so the tests above find such mistakes in charts."""
    found = next(
        each for each in render(helms["helm4"], "everything", "svgx") if each["kind"] == kind
    )
    place = found
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    try:
        reported = check(cluster, found).errors
    except CommandError as error:
        reported = str(error)
    assert message in reported
