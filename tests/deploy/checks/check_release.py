"""Tests of a release, and of its publication to a local docker-registry. `make release-check` runs these tests."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.build import locks, tools, uv, versions
from deploy.build.helm import Helm
from deploy.build.images.check import has_base
from deploy.build.release.check import ENGINE, VERSION
from deploy.build.values import CHARTS, SERVICES
from svgx_common.configuration import build
from svgx_devstack.ports import choose

RELEASE = tools.DIST / VERSION
LICENCE_ELSEWHERE = {
    "obstore",
    "pycrdt",
    "resvg-py",
    "tinycss2",
    "webencodings",
    "zxcvbn-rs-py",
}
"""Packages that state their licence only in a file or a classifier. syft reads neither."""

NATS = ("--set", "nats.url=nats://nats.example:4222")
"""The setting that the chart of a single service requires."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a registry, push the release to it, and return its host and path."""
    folder = tmp_path_factory.mktemp("registry")
    port = choose()
    configuration = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"localhost:{port}"},
    }
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    process = subprocess.Popen(["docker-registry", "serve", str(path)])
    try:
        transport = httpx.HTTPTransport(retries=50)
        with httpx.Client(transport=transport, timeout=30) as http:
            assert http.get(f"http://localhost:{port}/v2/").status_code == 200
        address = f"localhost:{port}/team"
        publish = [sys.executable, "-m", "deploy.build.release.publish", VERSION, address]
        options = ["--plain-http", "--engine", " ".join(ENGINE)]
        options += [] if has_base() else ["--images", "no"]
        subprocess.run([*publish, *options], cwd=tools.ROOT, check=True)
        yield address
    finally:
        process.terminate()
        process.wait()


def manifest(registry: str, name: str) -> dict[str, Any]:
    """Return the manifest of an image or a chart, in the release's version."""
    host, _, path = registry.partition("/")
    kinds = (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
    answer = httpx.get(
        f"http://{host}/v2/{path}/{name}/manifests/{VERSION}",
        headers={"Accept": ", ".join(kinds)},
    )
    assert answer.status_code == 200, name
    return dict(answer.json())


def test_checksums_cover_every_file() -> None:
    """`SHA256SUMS` has the checksum of each file of the release. Proves R-SHIP-3."""
    lines = (RELEASE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    found = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    files = {each.relative_to(RELEASE) for each in RELEASE.rglob("*") if each.is_file()}
    assert {str(each) for each in files} == found.keys() | {"SHA256SUMS"}
    for name, digest in found.items():
        with (RELEASE / name).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == digest, name


def test_all_parts_have_the_version() -> None:
    """The wheels, charts, changelog, and image tags in the manifests have the release's version. Proves R-SHIP-3."""
    wheels = {each.name.split("-")[1] for each in RELEASE.glob("wheels/*.whl")}
    assert wheels == {versions.python_version(VERSION)}
    assert {each.name for each in RELEASE.glob("charts/*")} == {
        f"{chart}-{VERSION}.tgz" for chart in CHARTS
    }
    text = "".join(each.read_text(encoding="utf-8") for each in RELEASE.glob("manifests/*"))
    tags = set(re.findall(r"image: svgx/(\w+):(\S+)", text))
    assert tags == {(service, VERSION) for service in SERVICES}
    assert (RELEASE / "CHANGELOG.md").read_text(encoding="utf-8").startswith(f"## {VERSION}\n")


@pytest.mark.parametrize("service", SERVICES)
def test_wheels_install_with_the_lock_and_start(service: str, tmp_path: Path) -> None:
    """The wheels install with the lock beside them, which lists all other packages with hashes. Proves R-SHIP-3."""
    wheels = [
        each
        for each in RELEASE.glob("wheels/*.whl")
        if each.name.partition("-")[0].removeprefix("svgx_")
        in {Path(folder).name for folder in locks.own_packages(service)}
    ]
    uv.install(tmp_path, RELEASE / "wheels" / f"svgx-{service}.requirements.lock", wheels)
    printed = subprocess.run(
        [sys.executable, "-m", f"svgx_{service}", "--version"],
        env={"PYTHONPATH": str(tmp_path), "SVGX_REVISION": "4f1c2d3"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed == f"svgx-{service} {versions.python_version(VERSION)} (revision 4f1c2d3)\n"


@pytest.mark.parametrize("service", SERVICES)
def test_bill_of_materials_has_the_packages_of_the_lock(service: str) -> None:
    """The bill of materials has each package's version, and each third-party package's licence. Proves R-SHIP-3.

    The packages in `LICENCE_ELSEWHERE` may have no licence in the bill of materials.
    """
    found = components(f"svgx-{service}.cdx.json")
    lock = (RELEASE / "wheels" / f"svgx-{service}.requirements.lock").read_text(encoding="utf-8")
    expected = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", lock, re.MULTILINE))
    installed = {name: each["version"] for name, each in found.items()}
    assert expected.items() <= installed.items()
    own = {f"svgx-{Path(folder).name}" for folder in locks.own_packages(service)}
    assert {name for name in installed if name.startswith("svgx-")} == own
    without = {name for name in expected if "licenses" not in found[name]}
    assert without <= LICENCE_ELSEWHERE


def components(name: str) -> dict[str, dict[str, Any]]:
    """Return the packages of a bill of materials by name."""
    content = json.loads((RELEASE / "sbom" / name).read_text(encoding="utf-8"))
    assert content["metadata"]["component"]["version"] == VERSION
    return {
        each["name"].lower().replace("_", "-"): each
        for each in content["components"]
        if each["type"] == "library"
    }


@pytest.mark.parametrize("program", ["helm3", "helm4"])
@pytest.mark.parametrize("chart", CHARTS)
def test_chart_of_the_registry_renders_like_the_chart_of_the_release(
    registry: str, program: str, chart: str, tmp_path: Path
) -> None:
    """The registry has the release's archive of the chart, and Helm renders it in the same way. Proves R-SHIP-3."""
    helm = Helm(program, tmp_path)
    settings = () if chart == "svgx" else NATS
    remote = (f"oci://{registry}/charts/{chart}", "--version", VERSION, "--plain-http")
    expected = helm.template(str(RELEASE / "charts" / f"{chart}-{VERSION}.tgz"), *settings)
    assert helm.template(*remote, *settings) == expected
    helm.run("pull", *remote)
    pulled = (tmp_path / f"{chart}-{VERSION}.tgz").read_bytes()
    assert pulled == (RELEASE / "charts" / f"{chart}-{VERSION}.tgz").read_bytes()


@pytest.mark.parametrize("service", SERVICES)
def test_image_of_the_registry_has_the_version_of_the_release(registry: str, service: str) -> None:
    """The pushed image has the version and the revision of the release. Proves R-SHIP-3."""
    if not has_base():
        pytest.skip("the release has no images: run `make images-check` first")
    host, _, path = registry.partition("/")
    found = manifest(registry, f"svgx/{service}")
    digest = found["config"]["digest"]
    config = httpx.get(f"http://{host}/v2/{path}/svgx/{service}/blobs/{digest}").json()["config"]
    assert config["Labels"]["org.opencontainers.image.version"] == VERSION
    # `make release-check` passes the revision on, because the clone may change during the build.
    revision = os.environ[build.VARIABLE]
    assert config["Labels"]["org.opencontainers.image.revision"] == revision
    assert f"SVGX_REVISION={revision}" in config["Env"]
    assert "python3" in "".join(components(f"svgx-{service}-image.cdx.json"))
