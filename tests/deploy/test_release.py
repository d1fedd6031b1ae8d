"""The version, changelog and base image of a release, and the commands that build images."""

import os
import shutil
from pathlib import Path

import pytest
import yaml

from deploy.build import tools, versions
from deploy.build.images import check
from deploy.build.images.engine import Engine
from deploy.build.release import changelog

CHANGELOG = """# Changelog

Text before the sections.

## Unreleased

- Later.

## 1.4.0 (2026-11-26)

### Added

- A thing.

## 1.3.0

No entries.
"""


@pytest.mark.parametrize(
    ("version", "valid"),
    [
        *(("0.1.0", True), ("1.4.0", True), ("10.20.30", True), ("1.4.0-rc.1", True)),
        *(("1.4.0-alpha.0", True), ("1.4", False), ("v1.4.0", False), ("01.4.0", False)),
        *(("1.4.0-rc1", False), ("1.4.0-rc.01", False), ("1.4.0+build", False), ("", False)),
        *(("1.4.0 ", False), ("1.4.0; rm -rf /", False), ("latest", False), ("1.4.0-dev.1", False)),
    ],
)
def test_version_is_accepted_only_in_the_form_of_a_release(version: str, valid: bool) -> None:
    """The pattern accepts only the forms `1.4.0` and `1.4.0-rc.1` (or alpha, beta). Proves R-SHIP-3."""
    assert bool(versions.VERSION.fullmatch(version)) is valid


@pytest.mark.parametrize(
    ("version", "wheel"),
    [("1.4.0", "1.4.0"), ("1.4.0-rc.1", "1.4.0rc1"), ("2.0.0-beta.3", "2.0.0b3")],
)
def test_version_is_written_into_every_file(tmp_path: Path, version: str, wheel: str) -> None:
    """Only the version in the files changes. Proves R-SHIP-3."""
    before = versions.current()
    for pattern in versions.PLACES:
        for path in tools.ROOT.glob(pattern):
            copy = tmp_path / path.relative_to(tools.ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    versions.write(tmp_path, version)
    assert versions.current(tmp_path) == version
    text = (tmp_path / "services" / "auth" / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{wheel}"\n' in text
    chart = yaml.safe_load((tmp_path / "deploy/helm/svgx/Chart.yaml").read_text(encoding="utf-8"))
    assert {each["version"] for each in chart["dependencies"]} == {version}
    versions.write(tmp_path, before)
    for pattern in versions.PLACES:
        for path in tools.ROOT.glob(pattern):
            copy = tmp_path / path.relative_to(tools.ROOT)
            assert copy.read_bytes() == path.read_bytes(), path


def test_files_with_several_versions_are_reported(tmp_path: Path) -> None:
    """A file with another version than the other files is an error. Proves R-SHIP-3."""
    for pattern in versions.PLACES:
        for path in tools.ROOT.glob(pattern):
            copy = tmp_path / path.relative_to(tools.ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    dockerfile = tmp_path / "services" / "auth" / "Dockerfile"
    text = dockerfile.read_text(encoding="utf-8")
    dockerfile.write_text(text.replace(f"={versions.current()}", "=9.9.9"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"9\.9\.9"):
        versions.current(tmp_path)


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.4.0", "## 1.4.0\n\n### Added\n\n- A thing.\n"), ("1.5.0", "## 1.5.0\n\n- Later.\n")],
)
def test_release_has_the_section_of_its_version(version: str, expected: str) -> None:
    """A version without a section gets the unreleased changes. Proves R-SHIP-3."""
    assert changelog.section(CHANGELOG, version) == expected


@pytest.mark.parametrize(
    ("text", "version", "reason"),
    [
        (CHANGELOG, "1.3.0", "has a section 1.3.0 without an entry"),
        ("# Changelog\n", "1.4.0", "no section 1.4.0, and no entry under Unreleased"),
        ("## Unreleased\n", "1.4.0", "no section 1.4.0, and no entry under Unreleased"),
    ],
)
def test_release_without_an_entry_in_the_changelog_is_refused(
    text: str, version: str, reason: str
) -> None:
    """The error names the version, and the section without an entry. Proves R-SHIP-3."""
    with pytest.raises(ValueError, match=reason):
        changelog.section(text, version)


def test_changelog_of_the_repository_has_entries() -> None:
    """A release of this repository gets a section of its changelog. Proves R-SHIP-3."""
    text = (tools.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert changelog.section(text, "1.0.0").startswith("## 1.0.0\n")


@pytest.mark.parametrize(
    ("program", "build"),
    [
        ("docker", "build --build-arg VERSION=1.4.0"),
        ("podman", "build --format docker --layers --build-arg VERSION=1.4.0"),
        ("buildah", "bud --format docker --layers --build-arg VERSION=1.4.0"),
    ],
)
def test_engines_get_their_own_commands(tmp_path: Path, program: str, build: str) -> None:
    """podman and buildah get `--format docker`, because their OCI format has no health check. Proves R-SHIP-3."""
    log = tmp_path / "log"

    class Recorded(Engine):
        """An engine that writes its arguments to the log, and runs no program."""

        def run(self, *arguments: str) -> None:
            """Write the arguments to the log."""
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{' '.join(arguments)}\n")

    engine = Recorded(program, (), tmp_path)
    engine.build("auth", "svgx/auth:1.4.0", {"VERSION": "1.4.0"})
    engine.save("svgx/auth:1.4.0", tmp_path / "auth.tar")
    engine.push("svgx/auth:1.4.0", "localhost:5000/svgx/auth:1.4.0", plain_http=True)
    lines = log.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(
        f"{build} --file {tmp_path}/services/auth/Dockerfile --tag svgx/auth"
    )
    assert str(tmp_path / "auth.tar") in lines[1]
    assert lines[-1].startswith("push")
    assert lines[-1].endswith("localhost:5000/svgx/auth:1.4.0")
    assert ("--tls-verify=false" in lines[-1]) is (program != "docker")


@pytest.mark.parametrize(
    ("has_store", "listed", "found"),
    [(False, "an id", False), (True, "", False), (True, "an id", True)],
)
def test_base_image_is_found_only_after_the_images_check_has_made_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_store: bool, listed: str, found: bool
) -> None:
    """`has_base` returns False for a store of images without the base image, as after a failed debootstrap."""
    program = tmp_path / "buildah"
    program.write_text(f"#!/bin/sh\nprintf '{listed}'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(check, "STORE", tmp_path / "containers")
    if has_store:
        (tmp_path / "containers" / "storage").mkdir(parents=True)
    assert check.has_base() is found
