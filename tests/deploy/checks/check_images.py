"""Tests of the images as containers, with the development stack's NATS, PostgreSQL and Valkey.

`make images-check` runs these tests.

podman starts the containers as docker-compose.yml and the charts do: read-only, without capabilities, with a memory
limit. They use the machine's network instead of their own, because they need the stack's servers.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.build import locks, tools, values, versions
from deploy.build.images.check import OPTIONS, image
from svgx_common.configuration.process_environment import PROCESS_ENVIRONMENT
from svgx_devstack import DevStack
from svgx_devstack.ports import HOST, choose
from svgx_workers.confinement import PARTS
from tests.e2e.clients.workspace import open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.limits import HIGH_LIMITS
from tests.polling import REQUEST_POLL_SECONDS, pause

PODMAN = ("podman", *OPTIONS, "--runtime", "crun", "--cgroup-manager", "cgroupfs")

CONFINED = (
    *("--network", "host", "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp"),
    *("--cap-drop", "all", "--security-opt", "no-new-privileges", "--pids-limit", "512"),
    # The machine may refuse podman's default limits, which are higher.
    *("--ulimit", "nofile=16384:16384", "--ulimit", "nproc=16384:16384"),
    # podman needs systemd timers for health checks, and systemd is missing. The tests run the checks instead.
    *("--health-interval", "disable"),
)

REVISION = os.environ.get("SVGX_REVISION", "") or versions.revision()
"""The revision of the images. `make images-check` sets it, because the clone may change during the build."""

STOP_ORDER = ("gateway", "collab", "state", "auth")
"""The services, in the order in which the tests stop them."""


def podman(*arguments: str) -> str:
    """Return the output of a podman command. Fail the test when the command fails."""
    done = run(*arguments)
    if done.returncode != 0:
        pytest.fail(f"podman {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a podman command, which may fail. podman also warns that systemd is missing, which has no effect."""
    return subprocess.run([*PODMAN, *arguments], capture_output=True, text=True, check=False)


def log_of(container: str) -> list[dict[str, Any]]:
    """Return the lines of a container's log."""
    # The services write their logs to standard error.
    return [json.loads(line) for line in run("logs", container).stderr.splitlines()]


def inspect(name: str) -> dict[str, Any]:
    """Return podman's description of an image or a container."""
    (found,) = json.loads(podman("inspect", name))
    return dict(found)


@dataclass(frozen=True, slots=True)
class Container:
    """A running container of a service."""

    name: str
    url: str


@pytest.fixture(scope="module")
def containers(backing: DevStack) -> Iterator[dict[str, Container]]:
    """Start one container for each service, and remove the containers at the end."""
    started: dict[str, Container] = {}
    try:
        for service in values.SERVICES:
            port = choose()
            variables = variables_of(backing, service)
            variables |= {**HIGH_LIMITS, "API_HOST": HOST, "API_PORT": str(port)}
            options = [
                part for name, value in variables.items() for part in ("--env", f"{name}={value}")
            ]
            limits = chart(service)["resources"]["limits"]
            options += ["--memory", limits["memory"].replace("i", "").lower()]
            container = Container(f"svgx-check-{service}-{port}", f"http://{HOST}:{port}")
            started[service] = container
            podman("run", "--detach", "--name", container.name, *CONFINED, *options, image(service))
        yield started
    finally:
        for container in started.values():
            run("rm", "--force", "--time", "0", container.name)


def variables_of(backing: DevStack, service: str) -> dict[str, str]:
    """Return the variable `ENVIRONMENT`, and a service's variables for addresses and secrets.

    `containers` adds the limits and the address on which the service listens. The image sets all other variables.
    """
    variables = {"ENVIRONMENT": "production", "NATS_URL": backing.nats_url(service)}
    if service in ("auth", "state"):
        variables["POSTGRES_URL"] = backing.postgres_url
    if service in ("collab", "gateway"):
        variables["REDIS_URL"] = backing.redis_url
    if service in ("auth", "gateway"):
        variables["JWT_SECRET"] = backing.jwt_secret
    if service == "auth":
        variables["SVGX_ADMIN_USERNAME"] = backing.admin_username
        variables["SVGX_ADMIN_EMAIL"] = "admin@example.org"
        variables["SVGX_ADMIN_PASSWORD"] = backing.admin_password
    return variables


def chart(service: str) -> dict[str, Any]:
    """Return the values of a service's chart."""
    text = (values.HELM / service / "values.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


@pytest.mark.parametrize("service", values.SERVICES)
def test_image_has_labels_a_numeric_user_and_no_build_tools(service: str) -> None:
    """The user is a number, because `runAsNonRoot` makes Kubernetes refuse a user's name. Proves R-SHIP-1."""
    found = inspect(image(service))["Config"]
    labels = {name.rpartition(".")[2]: text for name, text in found["Labels"].items()}
    assert labels["title"] == f"svgx-{service}"
    assert labels["version"] == versions.current()
    assert labels["revision"] == REVISION
    assert found["User"] == "10001:10001"
    assert found["StopSignal"] in ("SIGTERM", "15")
    print_tools = "for tool in pip pip3 gcc cc make git curl; do command -v $tool; done; true"
    assert (
        podman("run", "--rm", *CONFINED, "--entrypoint", "sh", image(service), "-c", print_tools)
        == ""
    )
    print(f"\n{service}: {inspect(image(service))['Size'] / 2**20:.0f} MiB with Debian and Python")


@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_40", "aarch64-manylinux_2_40"])
@pytest.mark.parametrize("service", values.SERVICES)
def test_lock_has_wheels_for_the_default_base(service: str, platform: str) -> None:
    """Each package has a wheel for the Python of release images. The images under test have Debian's Python instead.

    Proves R-SHIP-1.
    """
    text = (tools.ROOT / "services" / service / "Dockerfile").read_text(encoding="utf-8")
    (version,) = re.findall(r"^ARG BASE=python:(\d+\.\d+)", text, re.MULTILINE)
    command = [
        *(str(Path(sys.executable).with_name("uv")), "pip", "install", "--no-config", "--quiet"),
        *("--dry-run", "--target", "/nonexistent", "--python-version", version, "--no-deps"),
        *("--python-platform", platform, "--only-binary", ":all:", "--require-hashes"),
        *("--requirement", str(locks.path_of(service))),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", values.SERVICES)
def test_image_prints_its_version_and_revision(service: str) -> None:
    """The output of `--version` has the version and the revision. Proves R-CONFIG-6."""
    printed = podman("run", "--rm", *CONFINED, image(service), "--version")
    assert printed == f"svgx-{service} {versions.current()} (revision {REVISION})\n"


async def wait_ready(container: Container) -> dict[str, Any]:
    """Wait until the readiness check of a container passes, and return its health."""
    deadline = time.monotonic() + 120
    async with httpx.AsyncClient(base_url=container.url, timeout=10) as http:
        while True:
            try:
                if (await http.get("/health/ready")).status_code == 200:
                    return dict((await http.get("/health/")).json())
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline:
                pytest.fail(str(log_of(container.name)))
            await pause(REQUEST_POLL_SECONDS)


@pytest.mark.parametrize("service", values.SERVICES)
async def test_container_answers_its_probes(containers: dict[str, Container], service: str) -> None:
    """The probes of the charts pass, and no service logs a warning. Proves R-SHIP-1 and R-OBS-16.

    The image's own health check uses the port of `API_PORT`.
    """
    container = containers[service]
    health = await wait_ready(container)
    assert (health["version"], health["revision"]) == (versions.current(), REVISION)
    async with httpx.AsyncClient(base_url=container.url, timeout=10) as http:
        assert (await http.get("/health/live")).status_code == 200
    podman("healthcheck", "run", container.name)
    # A service also warns about each unknown or ignored environment variable.
    assert [line for line in log_of(container.name) if line["level"] != "INFO"] == []


@pytest.mark.parametrize("service", values.SERVICES)
def test_container_is_confined(containers: dict[str, Container], service: str) -> None:
    """The process has only the rights of an ordinary user, and cannot write to the image. Proves R-SHIP-1."""
    name = containers[service].name
    status = dict(
        line.split(":\t", 1)
        for line in podman("exec", name, "cat", "/proc/1/status").splitlines()
        if ":\t" in line
    )
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for path in ("/opt/svgx/x", "/etc/x", "/home/x", "/var/tmp/x"):
        assert "Read-only file system" in run("exec", name, "touch", path).stderr
    variables = podman("exec", name, "cat", "/proc/1/environ").split("\0")
    for variable, value in PROCESS_ENVIRONMENT.items():
        assert f"{variable}={value}" in variables


async def test_clients_draw_together_through_containers(
    containers: dict[str, Container], backing: DevStack, driver: YjsDriver
) -> None:
    """Import, rendering and edits work without a writable disk, and the workers are confined. Proves R-SHIP-1."""
    for container in containers.values():
        await wait_ready(container)
    url = containers["gateway"].url
    base = url.replace("http", "ws", 1)
    async with open_workspace(backing, driver, url=url, websocket_base=base) as workspace:
        canvas = await workspace.create_canvas("Contained")
        svg = '<svg xmlns="http://www.w3.org/2000/svg"><circle r="5"/><text>SVG</text></svg>'
        await workspace.owner.request(
            "PUT",
            f"/runtime/canvases/{canvas}/svg",
            content=svg,
            headers={"Content-Type": "image/svg+xml"},
        )
        first, second = await workspace.connect_many(canvas, 2)
        await first.add_element("drawn-in-a-container")
        await workspace.driver.wait_for_elements([second], "drawn-in-a-container")
        await workspace.driver.wait_saved([first])
        assert b"<rect/>" in await workspace.owner.export(canvas, "svg")
        assert (await workspace.owner.export(canvas, "png")).startswith(b"\x89PNG")
        await workspace.destroy_all()
    async with httpx.AsyncClient(timeout=10) as http:
        for service in ("collab", "state"):
            text = (await http.get(f"{containers[service].url}/metrics/prometheus")).text
            name = "svgx_engine_workers_confined{"
            confined = [line for line in text.splitlines() if line.startswith(name)]
            print(service, *confined, sep="\n  ")
            assert len(confined) == len(PARTS)
            assert all(line.endswith(" 1.0") for line in confined)


def memory_of(name: str) -> str:
    """Return the memory use of a container, as its control group counts it."""
    used = podman("stats", "--no-stream", "--format", "{{.MemUsageBytes}}", name)
    return used.split("/")[0]


@pytest.mark.parametrize("service", STOP_ORDER)
def test_container_stops_cleanly(containers: dict[str, Container], service: str) -> None:
    """SIGTERM reaches the service, which ends with status 0 within 15 s. Proves R-SHIP-1."""
    name = containers[service].name
    print(f"\n{service}: uses {memory_of(name)}")
    began = time.monotonic()
    podman("stop", "--time", "60", name)
    seconds = time.monotonic() - began
    assert inspect(name)["State"]["ExitCode"] == 0, log_of(name)
    assert log_of(name)[-1]["event"] == "stopped"
    assert seconds < 15
    print(f"{service}: stopped in {seconds:.1f} s")
