"""The repository's GitHub workflows, and the file CODEOWNERS."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.build import tools, values

FOLDER = tools.ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
CODEOWNERS = (FOLDER.parent / "CODEOWNERS").read_text(encoding="utf-8")


def program(name: str) -> str:
    """Return the path of a program in Python's virtual environment."""
    return str(Path(sys.executable).with_name(name))


def workflow(name: str) -> dict[str, Any]:
    """Return a workflow. PyYAML reads its key `on` as True."""
    return dict(yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")))


def test_workflows_fulfil_their_schema() -> None:
    """Each workflow is valid by the schema of GitHub's workflows. Proves R-SHIP-6."""
    command = [program("check-jsonschema"), "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, *WORKFLOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_workflows_have_no_known_weakness() -> None:
    """zizmor finds excessive permissions, credentials that stay on disk, and input that a shell would run.

    Proves R-SHIP-6.
    """
    command = [program("zizmor"), "--offline", "--quiet", "--no-progress", str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_and_runners_are_pinned(path: Path) -> None:
    """An action is pinned by its commit, because a tag can be moved to other code. Proves R-SHIP-6."""
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for reference, comment in used:
        assert reference.startswith("./") or re.search(r"@[0-9a-f]{40}$", reference), reference
        assert reference.startswith("./") or re.fullmatch(r" # v\d+\.\d+\.\d+", comment)
    for runner in re.findall(r"runs-on: (\S+)", text):
        assert not runner.endswith("latest")


def test_ci_workflow_runs_the_script_that_developers_run() -> None:
    """The last step runs `.ci/run`. Proves R-SHIP-6."""
    (job,) = workflow("ci.yml")["jobs"].values()
    assert job["steps"][-1]["run"] == ".ci/run"
    assert (tools.ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_release_is_published_after_the_tests_to_the_operators_registry() -> None:
    """The registry is a variable, and its password reaches one step only. Proves R-SHIP-6."""
    jobs = workflow("release.yml")["jobs"]
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert jobs["publish"]["needs"] == "ci"
    assert jobs["publish"]["env"] == {"REGISTRY": "${{ vars.REGISTRY }}"}
    steps = jobs["publish"]["steps"]
    commands = "\n".join(step.get("run", "") for step in steps)
    makefile = (tools.ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("release", "publish"):
        assert f"make {target} VERSION=" in commands
        assert f"\n{target}: " in makefile
    with_secrets = [step["name"] for step in steps if "secrets." in str(step)]
    assert with_secrets == ["Sign in to the registry"]


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("v1.4.0", "VERSION=1.4.0\n"),
        ("v1.4.0-rc.1", "VERSION=1.4.0-rc.1\n"),
        ("v1.4.0`id`", ""),
        ('v1.4.0";id;"', ""),
        ("v1.4.0$(id)", ""),
        ("v1.4.0-next", ""),
        ("1.4", ""),
    ],
)
def test_version_of_a_release_comes_from_valid_tags_only(
    tmp_path: Path, tag: str, version: str
) -> None:
    """A tag may contain characters of shell commands, and make passes the version to a shell. Proves R-SHIP-6."""
    steps = workflow("release.yml")["jobs"]["publish"]["steps"]
    (script,) = (step["run"] for step in steps if "GITHUB_ENV" in step.get("run", ""))
    environment_file = tmp_path / "environment"
    environment_file.touch()
    variables = os.environ | {"GITHUB_REF_NAME": tag, "GITHUB_ENV": str(environment_file)}
    done = subprocess.run(["bash", "-e", "-c", script], env=variables, check=False)
    assert (done.returncode == 0) == bool(version)
    assert environment_file.read_text(encoding="utf-8") == version


@pytest.mark.parametrize(
    ("version", "pre_release"),
    [("1.4.0", False), ("1.4.0-rc.1", True), ("1.4.0-beta.2", True), ("1.4.0-alpha.3", True)],
)
def test_release_of_an_unfinished_version_is_a_pre_release(
    tmp_path: Path, version: str, pre_release: bool
) -> None:
    """Otherwise, GitHub would show a release candidate as the latest release. Proves R-SHIP-6."""
    steps = workflow("release.yml")["jobs"]["publish"]["steps"]
    (script,) = (step["run"] for step in steps if "gh release create" in step.get("run", ""))
    (tmp_path / "dist" / version / "sbom").mkdir(parents=True)
    arguments = tmp_path / "arguments"
    for name, content in (("gh", f"printf '%s\\n' \"$@\" > {arguments}"), ("tar", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{content}\n")
        (tmp_path / name).chmod(0o755)
    variables = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "GITHUB_REF_NAME": f"v{version}",
        "VERSION": version,
    }
    subprocess.run(["bash", "-e", "-c", script], env=variables, cwd=tmp_path, check=True)
    given = arguments.read_text(encoding="utf-8").splitlines()
    assert given[:3] == ["release", "create", f"v{version}"]
    assert ("--prerelease" in given) is pre_release


def test_every_service_has_owners() -> None:
    """The code, tests and chart of a service have owners.

    Every path exists, and all teams belong to one organisation. Proves R-SHIP-6.
    """
    lines = [line.split() for line in CODEOWNERS.splitlines() if line and line[0] != "#"]
    for path, *teams in lines:
        assert path == "*" or (tools.ROOT / path.strip("/")).exists(), path
        assert teams
        assert all(re.fullmatch(r"@your-org/svgx-[a-z]+", team) for team in teams)
    owners = {path: teams for path, *teams in lines}
    for service in values.SERVICES:
        team = f"@your-org/svgx-{service}"
        for path in (
            f"/services/{service}/",
            f"/deploy/helm/{service}/",
            f"/tests/integration/{service}/",
            f"/tests/unit/{service}/",
        ):
            assert team in owners[path]
