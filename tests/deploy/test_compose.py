"""docker-compose.yml is valid, complete, and consistent with the charts."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.build import charts, compose, tools, values
from deploy.build.configuration import SETTINGS
from svgx_common.config_file import GUIDE_KEYS
from svgx_common.configuration.variables import unknown_variables
from svgx_devstack.backing import nats
from tests.deploy.objects import parse_objects
from tests.deploy.operations.guide import read_blocks

FILE = tools.ROOT / "docker-compose.yml"
TEXT = FILE.read_text(encoding="utf-8")
PROJECT: dict[str, Any] = yaml.safe_load(TEXT)
SERVERS: dict[str, dict[str, Any]] = PROJECT["services"]
ONLY_IN_CHARTS = {
    *("SVGX_CONFIG", "K8S_POD_NAME", "K8S_POD_UID", "K8S_NAMESPACE_NAME", "K8S_NODE_NAME"),
    "OTEL_RESOURCE_ATTRIBUTES",
    # The default is the number of cores, and Compose gives a container all cores.
    "PASSWORD_WORKERS",
    # In Compose, the services use their defaults for these variables.
    *("API_HOST", "JWT_EXPIRES_IN", "RATE_LIMIT_REQUESTS_PER_MINUTE"),
    *("STATE_TYPES", "JOURNAL_RETENTION_DAYS", "DATABASE_DISK_GB"),
    *("DATABASE_POOL_SIZE", "DATABASE_MAX_OVERFLOW", "REDIS_POOL_SIZE"),
    *("PROMETHEUS_ENABLED", "HEALTH_CHECK_INTERVAL"),
}
"""Variables and keys of the configuration file that the charts set and docker-compose.yml does not need."""

OPTIONAL_IN_CHARTS = {
    *("SVGX_ADMIN_USERNAME", "SVGX_ADMIN_EMAIL", "SVGX_ADMIN_PASSWORD"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
}
"""Variables that a chart sets only when its values name a secret or an endpoint."""

REFERENCE = re.compile(r"\$\{([A-Z_]+)(?:(:[-?])([^}]*))?\}")
"""A variable in docker-compose.yml, with its default (`:-`) or the error message for a missing variable (`:?`)."""

GRACE = 15
"""Seconds by which the grace period exceeds `DRAIN_SECONDS`, in the charts and in docker-compose.yml."""


@functools.cache
def pods() -> dict[str, dict[str, Any]]:
    """Return the pod specification of each Deployment and StatefulSet in the charts, by name.

    Only `dev.yaml`, the rendering for trials, has PostgreSQL and Valkey.
    """
    found: dict[str, dict[str, Any]] = {}
    for golden in ("default.yaml", "dev.yaml"):
        text = (charts.RENDERED / golden).read_text(encoding="utf-8")
        for each in parse_objects(text):
            if each["kind"] in ("Deployment", "StatefulSet"):
                name = each["metadata"]["name"].removeprefix("svgx-")
                found.setdefault(name, each["spec"]["template"]["spec"])
    return found


def container(name: str) -> dict[str, Any]:
    """Return the container of a service's or server's pods."""
    (found,) = pods()[name]["containers"]
    return dict(found)


def chart_values(service: str) -> dict[str, Any]:
    """Return the values of a service's chart."""
    text = (values.HELM / service / "values.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def configured(service: str) -> set[str]:
    """Return the variable names of the settings that the chart writes into the configuration file."""
    found = set()
    for key, value in chart_values(service)["config"].items():
        if not isinstance(value, dict):
            found.add(key.upper())
            continue
        for name in value:
            found.add((GUIDE_KEYS.get(f"{key}.{name}") or name).upper())
    return found


def test_file_fulfils_the_compose_specification() -> None:
    """The schema comes from the Compose specification. Proves R-SHIP-4."""
    program = Path(sys.executable).with_name("check-jsonschema")
    command = [str(program), "--builtin-schema", "vendor.compose-spec", "--output-format", "json"]
    done = subprocess.run([*command, str(FILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "ok"), done.stdout


@pytest.mark.parametrize("service", values.SERVICES)
def test_service_has_the_variables_of_its_chart(service: str) -> None:
    """Each variable is a setting of the service or an OpenTelemetry variable. Proves R-SHIP-4."""
    own = set(SERVERS[service]["environment"])
    chart = {each["name"] for each in container(service)["env"]} | configured(service)
    assert own - OPTIONAL_IN_CHARTS == chart - ONLY_IN_CHARTS - OPTIONAL_IN_CHARTS
    fields = {name.upper() for name in SETTINGS[service].model_fields}
    assert {name for name in own - fields if not name.startswith("OTEL_")} == set()
    required = {
        name.upper() for name, each in SETTINGS[service].model_fields.items() if each.is_required()
    }
    assert required <= own


@pytest.mark.parametrize("service", values.SERVICES)
def test_service_drains_as_in_its_chart(service: str) -> None:
    """Compose kills no service that still drains. Proves R-SHIP-4."""
    drain = chart_values(service)["drain"]
    variables = SERVERS[service]["environment"]
    assert variables["DRAIN_SECONDS"] == str(drain["seconds"])
    assert SERVERS[service]["stop_grace_period"] == f"{drain['seconds'] + GRACE}s"
    assert pods()[service]["terminationGracePeriodSeconds"] == drain["seconds"] + GRACE
    if "noticeSeconds" in drain:
        assert variables["DRAIN_NOTICE_SECONDS"] == str(drain["noticeSeconds"])
        assert variables["WEBSOCKET_DRAIN_SECONDS"] == str(drain["websocketSeconds"])


@pytest.mark.parametrize("service", values.SERVICES)
def test_service_has_the_permissions_of_its_chart(service: str) -> None:
    """The container is read-only, has no capabilities, and runs as the user of the image. Proves R-SHIP-4."""
    chart = container(service)["securityContext"]
    server = SERVERS[service]
    assert server["read_only"] is chart["readOnlyRootFilesystem"] is True
    assert server["cap_drop"] == chart["capabilities"]["drop"] == ["ALL"]
    assert server["security_opt"] == ["no-new-privileges:true"]
    assert chart["allowPrivilegeEscalation"] is False
    assert server["tmpfs"] == ["/tmp"]
    assert "/tmp" in {each["mountPath"] for each in container(service)["volumeMounts"]}
    assert not {"user", "privileged", "cap_add", "volumes", "ports"} & server.keys()
    user = pods()[service]["securityContext"]["runAsUser"]
    dockerfile = (tools.ROOT / "services" / service / "Dockerfile").read_text(encoding="utf-8")
    assert f"\nUSER {user}:{user}\n" in dockerfile


def test_servers_have_the_images_of_the_charts() -> None:
    """Every image has a version, and no registry. Proves R-SHIP-4."""
    for name, server in SERVERS.items():
        image = REFERENCE.sub(r"\3", server["image"])
        repository, _, tag = image.rpartition(":")
        assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-\w+)?", tag), image
        assert "." not in repository.partition("/")[0], image
        other = {"postgres": "postgresql"}.get(name, name)
        if name in (*values.SERVICES, "nats", "postgres", "valkey"):
            assert image == container(other)["image"]


def test_ports_are_those_of_the_charts() -> None:
    """The services answer on the charts' port, and only nginx can be opened to other machines. Proves R-SHIP-4."""
    for service in values.SERVICES:
        assert container(service)["ports"][0]["containerPort"] == 8000
        dockerfile = (tools.ROOT / "services" / service / "Dockerfile").read_text(encoding="utf-8")
        assert "\nEXPOSE 8000\n" in dockerfile
    scraped = yaml.safe_load(
        (tools.ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    )["scrape_configs"]
    targets = {(*each["names"], each["port"]) for job in scraped for each in job["dns_sd_configs"]}
    assert {(service, 8000) for service in values.SERVICES} <= targets
    assert {name for name, *_ in targets} <= SERVERS.keys()
    nginx = (tools.ROOT / "deploy" / "nginx" / "nginx.conf").read_text(encoding="utf-8")
    assert "server gateway:8000 " in nginx
    addresses = {
        f"{name}:{port}"
        for service in values.SERVICES
        for value in SERVERS[service]["environment"].values()
        for name, port in re.findall(r"(?://|@)([a-z]+):(\d+)", value)
    }
    assert addresses == {"nats:4222", "postgres:5432", "valkey:6379"}
    published = {name: server["ports"] for name, server in SERVERS.items() if "ports" in server}
    # Only this machine can reach the published ports, unless the operator sets another address for nginx.
    assert published.pop("nginx") == ["${LISTEN_ON:-127.0.0.1}:8080:8080"]
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_servers_start_after_the_servers_that_they_need() -> None:
    """A service waits until all servers to which its chart's network policy lets it connect are healthy.

    Proves R-SHIP-4.
    """
    graph = {name: set(server.get("depends_on", {})) for name, server in SERVERS.items()}
    list(TopologicalSorter(graph).static_order())  # it raises on a cycle
    for name, server in SERVERS.items():
        for other, condition in server.get("depends_on", {}).items():
            assert condition["condition"] == "service_healthy", (name, other)
            assert "healthcheck" in SERVERS[other]
    destinations = {"nats": "nats", "postgresql": "postgres", "redis": "valkey"}
    for service in values.SERVICES:
        facts = yaml.safe_load((values.HELM / service / "service.yaml").read_text(encoding="utf-8"))
        expected = {destinations[each] for each in facts["egress"]}
        assert graph[service] - set(values.SERVICES) == expected
        assert SERVERS[service]["healthcheck"]["test"][-1] == "ready"
    assert graph["gateway"] >= {"auth", "collab", "state"}
    assert graph["nginx"] == {"gateway"}


def test_mounted_files_and_volumes_exist() -> None:
    """Docker would create a folder in the place of a missing file. Proves R-SHIP-4."""
    named = set()
    for server in SERVERS.values():
        volumes = [REFERENCE.sub(r"\3", each) for each in server.get("volumes", [])]
        for source, _, target in (each.partition(":") for each in volumes):
            if source.startswith("."):
                assert (tools.ROOT / source).exists(), source
                assert target.endswith(":ro"), source
            else:
                named.add(source)
    assert named == PROJECT["volumes"].keys()
    users = "./deploy/helm/svgx/files/nats-users.conf:/etc/nats/users.conf:ro"
    assert users in [REFERENCE.sub(r"\3", each) for each in SERVERS["nats"]["volumes"]]


def test_servers_with_mounted_files_have_the_current_hash_of_these_files() -> None:
    """Compose then replaces the container when a file has changed, such as NATS' with its users. Proves R-SHIP-4."""
    # Compose makes a new container for each backup.
    with_files = {name for name, each in SERVERS.items() if compose.mounted(each)} - {"backup"}
    labelled = {name for name, each in SERVERS.items() if compose.LABEL in each.get("labels", {})}
    assert with_files == labelled >= {"nats", "nginx"}
    assert compose.with_hashes(TEXT) == TEXT, "run `make charts`"


def test_hash_changes_with_a_mounted_file_of_the_same_server_only(tmp_path: Path) -> None:
    """A change of one server's files does not replace the other servers. Proves R-SHIP-4."""
    for name in sorted({path for each in SERVERS.values() for path in compose.mounted(each)}):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        source = tools.ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path / name)
    assert compose.with_hashes(TEXT, tmp_path) == TEXT
    (users,) = (each for each in compose.mounted(SERVERS["nats"]) if "users" in each)
    with (tmp_path / users).open("a") as file:
        file.write("# another user\n")
    changed = yaml.safe_load(compose.with_hashes(TEXT, tmp_path))["services"]
    assert {name for name, each in changed.items() if each != SERVERS[name]} == {"nats"}


def test_observability_servers_reach_each_other() -> None:
    """The profile `observability` starts these servers. Their configuration names servers of docker-compose.yml only.

    Proves R-SHIP-4.
    """
    folder = tools.ROOT / "deploy"
    texts = [
        path.read_text(encoding="utf-8") for path in folder.glob("grafana/provisioning/**/*.yaml")
    ]
    texts += [(folder / "otel" / "collector.yaml").read_text(encoding="utf-8")]
    texts += [(tools.ROOT / ".env.example").read_text(encoding="utf-8")]
    named = {name for text in texts for name in re.findall(r"\b([a-z][a-z-]+):\d{4,5}\b", text)}
    assert named >= {"otel-collector", "prometheus", "jaeger"}
    assert named <= SERVERS.keys() | {"localhost"}
    profiles = {name: server.get("profiles") for name, server in SERVERS.items()}
    with_profile = {name for name, found in profiles.items() if found == ["observability"]}
    assert with_profile == {"prometheus", "grafana", "otel-collector", "jaeger"}
    assert profiles["backup"] == ["backup"]
    without = SERVERS.keys() - with_profile - {"backup"}
    assert {name for name in profiles if profiles[name] is None} == without


def test_nats_gets_the_public_key_of_each_service() -> None:
    """The environment of the NATS server has exactly the keys in the charts' files of NATS users. Proves R-SHIP-4."""
    files = values.HELM / "svgx" / "files"
    users = (files / "nats-users.conf").read_text(encoding="utf-8")
    users_with_second_keys = (files / "nats-users-second-keys.conf").read_text(encoding="utf-8")
    read = set(re.findall(r"\$([A-Z_]+_NKEY)", users))
    assert read <= {each["name"] for each in container("nats")["env"]}
    read |= set(re.findall(r"\$([A-Z_]+_NKEY)", users_with_second_keys))
    assert read == SERVERS["nats"]["environment"].keys() - {"GOMAXPROCS"}
    for service in values.SERVICES:
        seed = SERVERS[service]["environment"]["NATS_NKEY_SEED"]
        assert seed.startswith(f"${{{service.upper()}_NKEY_SEED:?")


def test_guide_replaces_the_keys_of_nats_with_both_files_of_users() -> None:
    """The guide has the steps to which docker-compose.yml refers, in their order. Proves R-BUS-15."""
    (block,) = (block.text for block in read_blocks() if "NATS_USERS_FILE" in block.text)
    order = [
        *("nats-rotate add", "NATS_USERS_FILE=nats-users-second-keys.conf", "up "),
        *("nats-rotate swap", "up ", "nats-rotate drop", "unset NATS_USERS_FILE", "up "),
    ]
    position = 0
    for step in order:
        position = block.index(step, position) + len(step)
    folder = tools.ROOT / "deploy" / "helm" / "svgx" / "files"
    assert (folder / "nats-users-second-keys.conf").exists()


def test_nats_uses_as_many_processors_as_in_the_charts() -> None:
    """In Kubernetes, NATS reads its CPU limit. Compose and the devstack set no limit, so they set `GOMAXPROCS`.

    Proves R-SHIP-4.
    """
    limit = container("nats")["resources"]["limits"]["cpu"]
    assert SERVERS["nats"]["environment"]["GOMAXPROCS"] == limit
    assert nats.PROCESSOR_LIMIT["GOMAXPROCS"] == limit


def defaults() -> dict[str, str]:
    """Return the default of each variable that docker-compose.yml reads and that has one."""
    return {name: text for name, kind, text in REFERENCE.findall(TEXT) if kind == ":-"}


def required() -> set[str]:
    """Return the variables without which docker-compose refuses to start."""
    return {name for name, kind, _ in REFERENCE.findall(TEXT) if kind == ":?"}


def test_example_of_the_environment_is_complete() -> None:
    """The example has exactly the variables of docker-compose.yml, with their defaults. Proves R-SHIP-4."""
    lines = (tools.ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert example.keys() == defaults().keys() | required()
    assert {name: text for name, text in example.items() if text} == {
        name: text for name, text in defaults().items() if text
    }
    assert not defaults().keys() & required()
    for name, _, _ in REFERENCE.findall(TEXT):
        assert name in example, name
    commented = [line for line in lines if line.startswith("#")]
    assert len(commented) > 5


@pytest.mark.parametrize("service", values.SERVICES)
def test_variable_of_the_environment_file_does_not_look_misspelt(service: str) -> None:
    """An installation may give each service the whole file, also the variables of other services. Proves R-CONFIG-5."""
    environment = dict.fromkeys(defaults().keys() | required(), "value")
    own = {name.upper() for name in SETTINGS[service].model_fields}
    assert list(unknown_variables(own, environment)) == []


def test_written_environment_has_every_required_variable(tmp_path: Path) -> None:
    """`make_env.sh` runs the gateway's image to get keys. A fake `docker` runs the package instead. Proves R-SHIP-4."""
    docker = tmp_path / "docker"
    check_image = 'test "$1 $2 ${3%:*}" = "run --rm svgx/gateway" || exit 9; shift 3'
    docker.write_text(f'#!/bin/sh\n{check_image}\nexec "{sys.executable}" -m svgx_gateway "$@"\n')
    docker.chmod(0o755)
    script = tools.ROOT / "deploy" / "scripts" / "make_env.sh"
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    path = tmp_path / ".env"
    path.touch(0o644)
    with path.open("wb") as file:
        subprocess.run([script], env=environment, stdout=file, check=True)
    assert path.stat().st_mode & 0o777 == 0o600  # because it contains passwords
    written = dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines())
    assert required() <= written.keys() <= defaults().keys() | required()
    assert all(len(value) >= 32 for value in written.values())
    assert len(set(written.values())) == len(written)
    assert "SVGX_ADMIN_PASSWORD" in written
