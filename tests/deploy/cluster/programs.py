"""Build etcd and the control plane of Kubernetes into `.tools/kubernetes`, and fetch custom resource definitions.

Go builds the programs from source, in the versions of `go.mod` and with the hashes of `go.sum`. The first build takes
many minutes; later calls return at once.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.build import tools

MODULE = Path(__file__).parent
FOLDER = tools.FOLDER / "kubernetes"
STAMP = FOLDER / "installed"

PROGRAMS = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
}
"""The Go package of each program."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """Files with custom resource definitions in a Go module, and the hash of the module as in `go.sum`."""

    module: str
    version: str
    hash: str
    files: tuple[str, ...]


DEFINITIONS = (
    Definitions(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
    Definitions(
        "sigs.k8s.io/gateway-api",
        "v1.6.3",
        "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
        (
            "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
            "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
        ),
    ),
    Definitions(
        "github.com/cert-manager/cert-manager",
        "v1.21.2",
        "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        (
            "deploy/crds/cert-manager.io_certificates.yaml",
            "deploy/crds/cert-manager.io_clusterissuers.yaml",
            "deploy/crds/cert-manager.io_issuers.yaml",
        ),
    ),
)


def missing_compiler() -> str | None:
    """Return the reason why the programs cannot be built, or None. Programs that are already built need no compiler."""
    if _is_current():
        return None
    wanted = _match(r"^go (\d+\.\d+)", (MODULE / "go.mod").read_text(encoding="utf-8"))
    if shutil.which("go") is None:
        return f"Go is not installed: install Go {wanted} or newer"
    found = subprocess.run(
        ["go", "env", "GOVERSION"], capture_output=True, text=True, check=True
    ).stdout
    if _version_numbers(found.removeprefix("go")) < _version_numbers(wanted):
        return f"Go {wanted} or newer is needed, but {found.strip()} is installed"
    return None


def version() -> str:
    """Return the version of Kubernetes, such as `v1.37.2`."""
    return _match(
        r"^\tk8s\.io/kubernetes (v[\d.]+)", (MODULE / "go.mod").read_text(encoding="utf-8")
    )


def install() -> None:
    """Build the programs and copy the definitions, unless they are up to date."""
    if _is_current():
        return
    print(f"building etcd and Kubernetes {version()} into .tools/kubernetes", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    for name, package in PROGRAMS.items():
        _build(name, package)
        print(f"  built {name} after {time.monotonic() - started:.0f} s", flush=True)
    for each in DEFINITIONS:
        _copy(each)
    STAMP.write_text(_fingerprint(), encoding="utf-8")


def definition_files() -> list[Path]:
    """Return the installed files with custom resource definitions."""
    return [FOLDER / Path(name).name for each in DEFINITIONS for name in each.files]


def _build(name: str, package: str) -> None:
    _, major, minor = re.split(r"[v.]", version())[:3]
    prefix = "-X k8s.io/component-base/version"
    flags = (
        f"-s -w {prefix}.gitVersion={version()} {prefix}.gitMajor={major} {prefix}.gitMinor={minor}"
    )
    subprocess.run(
        [
            *("nice", "-n", "19", "go", "build", "-trimpath", "-p", "2"),
            *("-ldflags", flags, "-o", str(FOLDER / name), package),
        ],
        cwd=MODULE,
        env=_environment(),
        check=True,
    )


def _copy(source: Definitions) -> None:
    """Copy the files from the module. Check the module's hash here too, because Go's check may be switched off."""
    result = subprocess.run(
        ["go", "mod", "download", "-json", f"{source.module}@{source.version}"],
        cwd=FOLDER,
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout)
    if found["Sum"] != source.hash:
        sys.exit(f"{source.module}: the hash is {found['Sum']}, not {source.hash}")
    for name in source.files:
        shutil.copyfile(Path(found["Dir"]) / name, FOLDER / Path(name).name)


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}


def _is_current() -> bool:
    return STAMP.exists() and STAMP.read_text(encoding="utf-8") == _fingerprint()


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in (MODULE / "go.mod", MODULE / "go.sum", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _match(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None
    return found[1]


def _version_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def main() -> None:
    """Build everything. If Go is missing or too old, print this. The tests are then skipped, or fail if `CI` is set."""
    reason = missing_compiler()
    if reason is not None:
        print(f"cannot build Kubernetes: {reason}", flush=True)
        return
    install()


if __name__ == "__main__":
    main()
