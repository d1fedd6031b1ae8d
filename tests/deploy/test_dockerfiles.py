"""The Dockerfiles pass the linter, install pinned packages, and set the variables in `PROCESS_ENVIRONMENT`."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.build import charts, locks, tools, values, versions
from svgx_common.configuration import build
from svgx_common.configuration.process_environment import PROCESS_ENVIRONMENT

ONLY_IN_IMAGES = {
    "PATH": "/opt/svgx/bin:$PATH",
    "PYTHONDONTWRITEBYTECODE": "1",
    build.VARIABLE: "${REVISION}",
}
"""Environment variables that only a process in an image needs."""


def dockerfile(service: str) -> str:
    """Return the Dockerfile of a service."""
    return (tools.ROOT / "services" / service / "Dockerfile").read_text(encoding="utf-8")


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the name and the arguments of each instruction, with continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


@pytest.mark.parametrize("service", values.SERVICES)
def test_dockerfile_has_no_findings_of_hadolint(service: str) -> None:
    """hadolint checks the instructions, and finds common mistakes in shell commands. Proves R-SHIP-1."""
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    path = str(tools.ROOT / "services" / service / "Dockerfile")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "style", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("service", values.SERVICES)
def test_image_has_the_variables_of_every_process(service: str) -> None:
    """The development stack sets the variables of `PROCESS_ENVIRONMENT` too. Proves R-SHIP-2."""
    (text,) = (rest for name, rest in instructions(dockerfile(service)) if name == "ENV")
    found = dict(part.split("=", 1) for part in shlex.split(text))
    assert found == {**PROCESS_ENVIRONMENT, **ONLY_IN_IMAGES}


def test_charts_and_compose_leave_the_variables_of_every_process_to_the_image() -> None:
    """A second value of a variable would hide a change in the image. Proves R-SHIP-2."""
    texts = [(tools.ROOT / "docker-compose.yml").read_text(encoding="utf-8")]
    texts += [(charts.RENDERED / golden).read_text(encoding="utf-8") for golden in charts.GOLDENS]
    for name in PROCESS_ENVIRONMENT:
        assert not any(name in text for text in texts), name


@pytest.mark.parametrize("service", values.SERVICES)
def test_image_has_no_build_tools_and_runs_as_an_unprivileged_user(service: str) -> None:
    """The second stage copies only the virtual environment of the first, and runs no command. Proves R-SHIP-1."""
    found = instructions(dockerfile(service))
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    assert found[0] == ("ARG", "BASE=python:3.13.9-slim-trixie")
    assert found[last] == ("FROM", "${BASE}")
    stage = dict(found[last:])
    assert not {"RUN", "ADD", "SHELL", "CMD"} & stage.keys()
    assert stage["COPY"] == "--from=build /opt/svgx /opt/svgx"
    assert stage["USER"] == "10001:10001"
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert stage["ENTRYPOINT"] == f'["svgx-{service}"]'
    assert stage["HEALTHCHECK"].endswith('CMD ["python", "-m", "svgx_common.http.probe"]')
    assert re.findall(r"image\.([\w.]+)=", stage["LABEL"]) == [
        *("title", "description", "version", "revision", "base.name")
    ]


@pytest.mark.parametrize("service", values.SERVICES)
def test_image_installs_the_packages_of_its_service_only(service: str) -> None:
    """Each package is pinned by hash or comes from this repository. All are installed as wheels. Proves R-SHIP-1."""
    folders = locks.own_packages(service)
    copied = [rest for name, rest in instructions(dockerfile(service)) if name == "COPY"]
    expected = [
        f"deploy/build/build.lock services/{service}/requirements.lock ./",
        *(f"{folder} {folder}" for folder in folders),
        "--from=build /opt/svgx /opt/svgx",
    ]
    assert copied == expected
    (install, build_wheels) = (
        rest for name, rest in instructions(dockerfile(service)) if name == "RUN"
    )
    assert install.count("--require-hashes --only-binary=:all:") == 2
    assert " ".join(f"./{folder}" for folder in folders) in build_wheels
    assert "--no-index" in build_wheels


def test_locks_of_the_images_are_current() -> None:
    """Each lock has the entries of requirements.lock that its service needs. Proves R-SHIP-1."""
    stale = [
        str(path.relative_to(tools.ROOT))
        for path, text in locks.locks().items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `python -m deploy.build.locks`"


def test_all_files_of_a_release_have_one_version() -> None:
    """All files have the version of the umbrella chart. Proves R-SHIP-3."""
    text = (values.HELM / "svgx" / "Chart.yaml").read_text(encoding="utf-8")
    assert versions.current() == yaml.safe_load(text)["appVersion"]
