"""The servers of the umbrella chart, and the values that all services and servers share."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.build import values, versions
from deploy.build.helm import Helm
from svgx_common.contract.operation import SERVICES
from tests.deploy.objects import parse_objects

SERVERS = {"nats": "StatefulSet", "postgresql": "StatefulSet", "valkey": "Deployment"}
"""The workload kind of each server, by the server's name in the values."""

TRIAL = ("--values", "svgx/values-dev.yaml")


def workloads(helm: Helm, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return all Deployments and StatefulSets of the trial values, by their name without `svgx-`."""
    rendered = parse_objects(helm.template("svgx", *TRIAL, *arguments))
    return {
        each["metadata"]["name"].removeprefix("svgx-"): each
        for each in rendered
        if each["kind"] in ("Deployment", "StatefulSet")
    }


def secrets_of(workload: dict[str, Any]) -> set[str]:
    """Return the names of the secrets from which the workload reads environment variables."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    sources = (each.get("valueFrom", {}) for each in container["env"])
    return {each["secretKeyRef"]["name"] for each in sources if "secretKeyRef" in each}


def variable(workload: dict[str, Any], name: str) -> str:
    """Return the value of an environment variable of the workload."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    (value,) = (each["value"] for each in container["env"] if each["name"] == name)
    return str(value)


def test_global_secrets_apply_to_all_services_and_servers(helm: Helm) -> None:
    """Global values name the secrets of all services and servers. A service's or server's own value has precedence."""
    found = workloads(
        helm,
        "--set=global.existingSecret=all,global.nats.existingSecret=keys",
        "--set=state.existingSecret=own,state.nats.existingSecret=own-keys",
        "--set=valkey.existingSecret=cache",
    )
    assert {name: secrets_of(each) for name, each in found.items()} == {
        "auth": {"all", "keys", "svgx-admin"},
        "collab": {"all", "keys"},
        "gateway": {"all", "keys"},
        "state": {"own", "own-keys"},
        "nats": {"keys"},
        "postgresql": {"all"},
        "valkey": {"cache"},
    }


def test_global_address_of_nats_applies_to_all_services(helm: Helm) -> None:
    """One value names an external NATS for all services. A service's own value has precedence."""
    found = workloads(
        helm,
        "--set=nats.enabled=false,global.nats.url=nats://shared.example:4222",
        "--set=collab.nats.url=nats://own.example:4222",
    )
    assert "nats" not in found
    addresses = {service: variable(found[service], "NATS_URL") for service in SERVICES}
    assert addresses.pop("collab") == "nats://own.example:4222"
    assert set(addresses.values()) == {"nats://shared.example:4222"}


@pytest.mark.parametrize("server", SERVERS)
def test_server_has_its_own_version(helms: dict[str, Helm], server: str) -> None:
    """A server and its pods have the server's version as a label."""
    found = workloads(helms["helm4"], f"--set={server}.image.tag=7.7")[server]
    template = found["spec"]["template"]
    for labels in (found["metadata"]["labels"], template["metadata"]["labels"]):
        assert labels["app.kubernetes.io/version"] == "7.7"
    assert found["kind"] == SERVERS[server]
    assert {"requests", "limits"} <= template["spec"]["containers"][0]["resources"].keys()


def test_new_version_of_the_chart_replaces_no_pod_of_a_server(helms: dict[str, Helm]) -> None:
    """Servers' pods have no label with the version of SVGX Engine, so an upgrade of the services keeps these pods."""
    found = workloads(helms["helm4"])
    pods = {name: str(each["spec"]["template"]["metadata"]) for name, each in found.items()}
    assert {name for name, text in pods.items() if versions.current() in text} == set(SERVICES)


ENTRYPOINT = """#!/bin/sh
if [ "$1" = postgres ]; then
  printf "%s\\n" "$POSTGRES_USER" "$POSTGRES_PASSWORD" "$POSTGRES_DB"
else
  for last in "$@"; do :; done; printf "%s\\n" "$last"
fi
"""
"""An entry point that prints the values that the image's own entry point would get."""


class Servers:
    """The rendered servers. Their commands run with `ENTRYPOINT` in place of the image's entry point."""

    def __init__(self, helm: Helm, programs: Path) -> None:
        self._workloads = workloads(helm)
        self._programs = programs
        entrypoint = programs / "docker-entrypoint.sh"
        entrypoint.write_text(ENTRYPOINT, encoding="utf-8")
        entrypoint.chmod(0o755)

    def run(self, shell: str, server: str, url: str) -> subprocess.CompletedProcess[str]:
        """Run the command of a server in a shell, with this URL in its secret."""
        (container,) = self._workloads[server]["spec"]["template"]["spec"]["containers"]
        program, option, script = container["command"]
        assert (program, option) == ("sh", "-c")
        variables = {"POSTGRES_URL": url} if server == "postgresql" else {"REDIS_URL": url}
        return subprocess.run(
            [*([shell, "sh"] if shell == "busybox" else [shell]), "-c", script],
            env={"PATH": f"{self._programs}:/usr/bin:/bin", "HOME": "/", **variables},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def servers(helms: dict[str, Helm], tmp_path_factory: pytest.TempPathFactory) -> Servers:
    """Render the servers once."""
    return Servers(helms["helm4"], tmp_path_factory.mktemp("programs"))


SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("server", "url", "expected"),
    [
        ("postgresql", "postgresql://u:p@h:5432/d", ["u", "p", "d"]),
        ("postgresql", "postgres://u:p@h/d?sslmode=disable", ["u", "p", "d"]),
        ("postgresql", "postgresql://u:p:q@h/d?x=a@b/c", ["u", "p:q", "d"]),
        (
            "postgresql",
            "postgresql://a%40b:%2F%3a%25%3F%20%24HOME%C3%A9@h/d%2Fe",
            ["a@b", "/:%? $HOMEé", "d/e"],
        ),
        ("postgresql", "postgresql://u:50%zz%@h/d", ["u", "50%zz%", "d"]),
        ("postgresql", "postgresql://u:*'\"`\\n@h/d", ["u", "*'\"`\\n", "d"]),
        ("valkey", "redis://h:6379/0", [""]),
        ("valkey", "redis://:p@h:6379/0", ["p"]),
        ("valkey", "redis://default:a%40b%2f@h:6379/0", ["a@b/"]),
        ("valkey", "redis://:p:q@h?db=1", ["p:q"]),
    ],
)
def test_server_takes_its_account_from_the_url(
    servers: Servers, shell: str, server: str, url: str, expected: list[str]
) -> None:
    """The server gets its account and database from the URL that the services use, also with percent escapes."""
    result = servers.run(shell, server, url)
    assert result.stderr == ""
    assert result.stdout.splitlines() == expected


@pytest.mark.parametrize(
    ("server", "url", "message"),
    [
        ("postgresql", "postgresql://h/d", "has no user and password"),
        ("postgresql", "postgresql://u@h/d", "has no user and password"),
        ("valkey", "redis://svgx:p@h", "has only the user default"),
    ],
)
def test_server_refuses_a_url_without_a_usable_account(
    servers: Servers, server: str, url: str, message: str
) -> None:
    """The message does not contain the URL, which may contain a password."""
    result = servers.run("sh", server, url)
    assert result.returncode == 1
    assert message in result.stderr
    assert url not in result.stderr


def test_charts_of_the_services_have_the_same_global_values() -> None:
    """The chart of a service and the umbrella chart have equal global values, with equal defaults."""
    contents = [
        yaml.safe_load((values.HELM / chart / "values.yaml").read_text(encoding="utf-8"))["global"]
        for chart in values.CHARTS
    ]
    assert all(content == contents[0] for content in contents)


def test_notes_show_the_secrets_and_the_first_admin(helms: dict[str, Helm]) -> None:
    """The commands in the notes use the names of this installation. Helm 3 renders notes only with a cluster."""
    output = helms["helm4"].run(
        *("install", "draw", "svgx", "--namespace", "team", "--dry-run=client"),
        "--set=global.existingSecret=addresses,global.nats.existingSecret=keys",
    )
    notes = output.partition("NOTES:")[2]
    assert "- addresses with redis-url, postgres-url and jwt-secret" in notes
    assert "nats-keys --format secret --name keys | kubectl apply -n team" in notes
    assert "kubectl exec deployment/draw-auth --namespace team" in notes
    assert "svgx-auth create-admin --username admin" in notes


def test_notes_with_another_name_of_auth_use_this_name(helms: dict[str, Helm]) -> None:
    """The command for the first admin names the Deployment of auth, also with `auth.fullnameOverride`."""
    output = helms["helm4"].run(
        *("install", "draw", "svgx", "--namespace", "team", "--dry-run=client"),
        "--set=auth.fullnameOverride=accounts",
    )
    notes = output.partition("NOTES:")[2]
    assert "kubectl exec deployment/accounts --namespace team" in notes
