"""Policies that every pod of the charts fulfils: Pod Security Standard `restricted`, probes, limits, pinned images."""

import functools
from typing import Any

import pytest

from deploy.build import charts
from svgx_common.runtime import GRACE_SECONDS
from tests.deploy.objects import parse_objects, pod_templates

PERMITTED_VOLUME_KEYS = {"name", "configMap", "emptyDir", "secret", "persistentVolumeClaim"}


@functools.cache
def pods(golden: str) -> dict[str, dict[str, Any]]:
    """Return the pod templates of a golden, by kind and name."""
    return pod_templates(parse_objects((charts.RENDERED / golden).read_text(encoding="utf-8")))


ALL_PODS = [(golden, name) for golden in charts.GOLDENS for name in pods(golden)]


@pytest.fixture(params=ALL_PODS, ids=" ".join)
def pod(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return one pod template."""
    golden, name = request.param
    return pods(golden)[name]


def test_pod_fulfils_the_restricted_standard(pod: dict[str, Any]) -> None:
    """The pod fulfils `restricted`, has a read-only file system, and has no token of a service account."""
    spec = pod["spec"]
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] >= 1000
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    for volume in spec.get("volumes", []):
        assert volume.keys() <= PERMITTED_VOLUME_KEYS
    for container in spec["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not any("hostPort" in port for port in container.get("ports", []))


def test_container_has_requests_limits_and_a_pinned_image(pod: dict[str, Any]) -> None:
    """The quota of a namespace refuses a pod if a container has no requests or no limits."""
    for container in pod["spec"]["containers"]:
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
        name, _, tag = container["image"].rpartition(":")
        assert name
        assert tag != "latest"


def test_long_running_container_has_all_probes(pod: dict[str, Any]) -> None:
    """The liveness probe does not check dependencies, because their failure would restart all pods."""
    for container in pod["spec"]["containers"]:
        if container["name"] in ("test", "backup"):
            continue
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert probe in container
        if container["ports"][0]["name"] == "http":
            assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
            assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"


@pytest.mark.parametrize("golden", charts.GOLDENS)
def test_pod_gets_more_time_to_stop_than_its_service_takes(golden: str) -> None:
    """The kubelet kills no service that still drains. A service ends within `DRAIN_SECONDS` + 2 × `GRACE_SECONDS`."""
    for name, pod in pods(golden).items():
        (container, *_) = pod["spec"]["containers"]
        env = {each["name"]: each.get("value") for each in container.get("env", [])}
        if "DRAIN_SECONDS" not in env or container["name"] == "backup":
            continue
        longest = float(env["DRAIN_SECONDS"]) + 2 * GRACE_SECONDS
        assert pod["spec"]["terminationGracePeriodSeconds"] > longest, name
        if "DRAIN_NOTICE_SECONDS" in env:
            closing = float(env["DRAIN_NOTICE_SECONDS"]) + float(env["WEBSOCKET_DRAIN_SECONDS"])
            assert closing <= float(env["DRAIN_SECONDS"])
