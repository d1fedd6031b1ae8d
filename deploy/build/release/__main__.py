"""Build all parts of a release from the last commit into `dist/<version>`: wheels, charts, manifests, images.

The release also has bills of materials of the services and images, the section of its version in the changelog, and
checksums of all files.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.build import locks, tools, uv, versions
from deploy.build.images import engine
from deploy.build.release import changelog, options, source, syft
from deploy.build.values import SERVICES


def main() -> None:
    """Build the release. The exit status is 1 when docker, podman or buildah is found and cannot build the images."""
    parser = argparse.ArgumentParser("python -m deploy.build.release", description=__doc__)
    parser.add_argument("version", help="such as 1.4.0 or 1.4.0-rc.1")
    options.add(parser)
    parser.add_argument("--base", help="base image, instead of the base in the Dockerfiles")
    arguments = parser.parse_args()
    version: str = arguments.version
    if not versions.VERSION.fullmatch(version):
        parser.error(f"VERSION={version}: must be a version such as 1.4.0 or 1.4.0-rc.1")
    try:
        notes = changelog.section(
            (tools.ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version
        )
    except ValueError as error:
        parser.error(str(error))
    # Only one commit is built, even if the clone gets another commit meanwhile.
    commit = versions.revision()
    if commit.endswith("-dirty"):
        commit = commit.removesuffix("-dirty")
        print("note: changes that are not committed are not part of the release", flush=True)
    target = tools.DIST / version
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "CHANGELOG.md").write_text(notes, encoding="utf-8")
    failed = None
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / f"svgx-{version}"
        source.export(commit, root, version)
        _build_wheels(commit, root, target / "wheels")
        _build_charts(root, target)
        _write_bills(target, version)
        failed = _build_images(arguments, commit, root, target / "images")
    lines = list(_checksums(target))
    (target / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines)} files and SHA256SUMS in {target}")
    if failed is not None:
        sys.exit(f"NOT BUILT: images: {failed}")


def _build_wheels(commit: str, root: Path, target: Path) -> None:
    """Build the wheels of the services and their libraries, and copy the lock of each service."""
    folders = dict.fromkeys(each for service in SERVICES for each in locks.own_packages(service))
    print(f"building {len(folders)} wheels", flush=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target)),
            *(str(root / folder) for folder in folders),
        ],
        env=os.environ | {"SOURCE_DATE_EPOCH": source.commit_time(commit)},
        check=True,
    )
    for service in SERVICES:
        lock = root / "services" / service / "requirements.lock"
        shutil.copyfile(lock, target / f"svgx-{service}.requirements.lock")


def _build_charts(root: Path, target: Path) -> None:
    """Package the charts, and render the manifests for installations without Helm."""
    print("packaging charts", flush=True)
    command = [sys.executable, "-m", "deploy.build.charts"]
    subprocess.run(command, cwd=root, stdout=subprocess.DEVNULL, check=True)
    shutil.copytree(root / "dist", target / "charts")
    shutil.copytree(root / "k8s", target / "manifests")


def _write_bills(target: Path, version: str) -> None:
    """Write a bill of materials of each service, from an installation of its packages."""
    folder = target / "sbom"
    folder.mkdir()
    for service in SERVICES:
        print(f"writing the bill of materials of {service}", flush=True)
        own = [Path(each).name for each in locks.own_packages(service)]
        wheels = [
            each
            for each in target.glob("wheels/*.whl")
            if each.name.partition("-")[0].removeprefix("svgx_") in own
        ]
        with tempfile.TemporaryDirectory() as installed:
            uv.install(Path(installed), locks.path_of(service), wheels)
            subject = syft.Subject(f"svgx-{service}", version)
            syft.write(f"dir:{installed}", subject, folder / f"svgx-{service}.cdx.json")


def _build_images(
    arguments: argparse.Namespace, commit: str, root: Path, target: Path
) -> str | None:
    """Build and save the images. Return the error of an engine that is found but fails, or else None."""
    if arguments.images == "no":
        print("note: the release has no images, because IMAGES=no", flush=True)
        return None
    found = engine.find(arguments.engine)
    if found is None:
        print(
            f"note: the release has no images, because none of {engine.PROGRAMS} works", flush=True
        )
        return None
    builder = engine.Engine(found.program, found.options, root)
    values = {"VERSION": arguments.version, "REVISION": commit}
    if arguments.base:
        values["BASE"] = arguments.base
    target.mkdir()
    try:
        for service in SERVICES:
            tag = f"svgx/{service}:{arguments.version}"
            builder.build(service, tag, values)
            builder.save(tag, target / f"svgx-{service}.tar")
    except engine.EngineError as error:
        shutil.rmtree(target)
        return str(error)
    for service in SERVICES:
        name = f"svgx-{service}-image"
        archive = f"docker-archive:{target / f'svgx-{service}.tar'}"
        syft.write(
            archive,
            syft.Subject(name, arguments.version),
            target.parent / "sbom" / f"{name}.cdx.json",
        )
    return None


def _checksums(target: Path) -> Iterator[str]:
    """Yield a line for each file of the release, as `sha256sum --check` reads it."""
    for path in sorted(each for each in target.rglob("*") if each.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        yield f"{digest}  {path.relative_to(target)}\n"


if __name__ == "__main__":
    main()
