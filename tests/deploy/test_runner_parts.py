"""The parts of the chart runner that follow rules of Kubernetes."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from tests.deploy.objects import Object
from tests.deploy.runner import environment
from tests.deploy.runner.environment import ConfigurationError
from tests.deploy.runner.pod import Pod
from tests.deploy.runner.rendered import Rendered
from tests.deploy.runner.substitution import Substitution
from tests.deploy.runner.workload import Workload, rounded

SUBSTITUTION = Substitution(
    {"/tmp": Path("/pods/x/tmp"), "/etc/nats": Path("/pods/x/config")},
    {"svgx-nats": "127.9.9.1", "svgx-nats-0.svgx-nats-peers.svgx.svc": "127.9.9.2"},
    "127.9.9.3",
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/etc/nats/nats.conf", "/pods/x/config/nats.conf"),
        ("pid_file: /tmp/nats.pid", "pid_file: /pods/x/tmp/nats.pid"),
        ("ldm=/tmp/nats.pid", "ldm=/pods/x/tmp/nats.pid"),
        ("/tmpfs /var/tmp /etc/nats2", "/tmpfs /var/tmp /etc/nats2"),
        ("nats://svgx-nats:4222", "nats://127.9.9.1:4222"),
        ("nats://a:b@svgx-nats", "nats://a:b@127.9.9.1"),
        (
            "nats://r:p@svgx-nats-0.svgx-nats-peers.svgx.svc:6222,nats://svgx-nats:4222",
            "nats://r:p@127.9.9.2:6222,nats://127.9.9.1:4222",
        ),
        ("name: svgx-nats", "name: svgx-nats"),
        ("listen: 0.0.0.0:4222", "listen: 127.9.9.3:4222"),
        ("--host=127.0.0.1", "--host=127.9.9.3"),
        ("trusted_proxies: 10.0.0.0/8", "trusted_proxies: 10.0.0.0/8"),
    ],
)
def test_substitution_replaces_paths_names_and_addresses_only(text: str, expected: str) -> None:
    """A text that only resembles a path, a name or an address is not replaced."""
    assert SUBSTITUTION(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500m", "0.5"), ("1", "1"), ("2Gi", str(2 * 1024**3)), ("512Mi", str(512 * 1024**2))],
)
def test_quantity_has_the_value_of_its_unit(text: str, expected: str) -> None:
    """The unit `m` is a thousandth, and `Mi` is 1024 × 1024."""
    assert environment.quantity(text) == environment.quantity(expected)


@pytest.mark.parametrize("text", ["", "1x", "Mi", "one"])
def test_wrong_quantity_is_refused(text: str) -> None:
    """The runner refuses a quantity that the API server would refuse."""
    with pytest.raises(ConfigurationError):
        environment.quantity(text)


POD = {"metadata": {"name": "pod-0", "uid": "0af7651916cd", "namespace": "svgx"}}
RENDERED = Rendered(
    yaml.safe_dump({"kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"key": "mapped"}}),
    {"secret": {"key": "secret value"}},
)


def value_of(source: dict[str, Any]) -> str | None:
    """Return the value of an environment variable with this source."""
    container = {
        "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}},
        "env": [{"name": "X", **source}],
    }
    return environment.variables(container, POD, "127.9.9.3", RENDERED).get("X")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"value": "plain"}, "plain"),
        ({"valueFrom": {"secretKeyRef": {"name": "secret", "key": "key"}}}, "secret value"),
        ({"valueFrom": {"configMapKeyRef": {"name": "map", "key": "key"}}}, "mapped"),
        ({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, "pod-0"),
        ({"valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}, "0af7651916cd"),
        ({"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}, "127.9.9.3"),
        ({"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}, "2"),
        (
            {"valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            "1024",
        ),
        ({"valueFrom": {"secretKeyRef": {"name": "no", "key": "key", "optional": True}}}, None),
        ({"valueFrom": {"secretKeyRef": {"name": "secret", "key": "no", "optional": True}}}, None),
    ],
)
def test_variable_has_the_value_of_its_source(source: dict[str, Any], expected: str | None) -> None:
    """An optional source that does not exist gives no variable."""
    assert value_of(source) == expected


@pytest.mark.parametrize(
    ("reference", "missing"),
    [({"name": "no", "key": "key"}, "no does not exist"), ({"name": "secret", "key": "no"}, "no")],
)
def test_missing_secret_stops_the_start(reference: dict[str, str], missing: str) -> None:
    """Like a kubelet, the runner starts no container with a missing secret."""
    with pytest.raises(ConfigurationError, match=missing):
        value_of({"valueFrom": {"secretKeyRef": reference}})


def test_references_in_values_are_expanded_in_order() -> None:
    """A value may refer to earlier variables. Other references stay as they are, and `$$` is a dollar sign."""
    container = {
        "env": [
            {"name": "A", "value": "a"},
            {"name": "B", "value": "$(A)-$(C)-$$(A)"},
            {"name": "C", "value": "c"},
        ]
    }
    found = environment.variables(container, POD, "127.9.9.3", RENDERED)
    assert found["B"] == "a-$(C)-$(A)"


@pytest.mark.parametrize(
    ("value", "replicas", "surge", "unavailable"),
    [(1, 3, 1, 1), ("100%", 3, 3, 3), ("25%", 3, 1, 0), ("0%", 3, 0, 0), ("50%", 3, 2, 1)],
)
def test_percentages_of_replicas_are_rounded(
    value: int | str, replicas: int, surge: int, unavailable: int
) -> None:
    """`maxSurge` is rounded up, and `maxUnavailable` down."""
    assert rounded(value, replicas, math.ceil) == surge
    assert rounded(value, replicas, math.floor) == unavailable


class FakePod:
    """A pod that is ready at once, and ends at once when it is deleted."""

    def __init__(self, name: str, deleted: list[str]) -> None:
        self.name = name
        self.ready = True
        self.gone = False
        self._deleted = deleted

    def delete(self) -> None:
        self._deleted.append(self.name)
        self.gone = True

    async def wait_gone(self) -> None:
        assert self.gone


class FakeCluster:
    """A cluster that records the names of deleted pods."""

    def __init__(self) -> None:
        self.changes = 0
        self.deleted: list[str] = []

    async def create_pod(self, pod: Object) -> Pod:
        return cast(Pod, FakePod(pod["metadata"]["name"], self.deleted))

    async def until(self, condition: Callable[[], bool], purpose: str) -> None:
        assert condition(), purpose


async def test_stateful_set_is_restarted_from_the_highest_number_each_time() -> None:
    """A StatefulSet replaces the pod with the highest number first, also in its second restart."""
    cluster = FakeCluster()
    spec = {"replicas": 3, "serviceName": "nats", "template": {"metadata": {}, "spec": {}}}
    metadata = {"name": "nats", "namespace": "svgx"}
    workload = Workload(cluster, {"kind": "StatefulSet", "metadata": metadata, "spec": spec})
    await workload.start()
    for _ in range(2):
        cluster.deleted.clear()
        await workload.restart()
        assert cluster.deleted == ["nats-2", "nats-1", "nats-0"]
        assert sorted(pod.name for pod in workload.pods) == ["nats-0", "nats-1", "nats-2"]
