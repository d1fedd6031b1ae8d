"""Build Jaeger from source into `.tools/jaeger`.

Its version 2 is an OpenTelemetry collector, with the components of the shipped configuration. Go builds it from the
version of `go.mod`, with the hashes of `go.sum`. The first build takes minutes; later calls return at once.
"""

import hashlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from deploy.build import tools

MODULE = Path(__file__).parent
FOLDER = tools.FOLDER / "jaeger"
PROGRAM = FOLDER / "jaeger"
_STAMP = FOLDER / "installed"


def missing_compiler() -> str | None:
    """Return the reason why Jaeger cannot be built here, or None. If it is built already, no compiler is needed."""
    if _is_current() or shutil.which("go") is not None:
        return None
    text = (MODULE / "go.mod").read_text(encoding="utf-8")
    wanted = re.search(r"^go (\d+\.\d+)", text, re.MULTILINE)
    assert wanted is not None
    return f"Go is not installed: install Go {wanted[1]} or newer"


def install() -> None:
    """Build Jaeger, unless this was done already."""
    if _is_current():
        return
    print("building Jaeger into .tools/jaeger", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    subprocess.run(
        [
            *("nice", "-n", "19", "go", "build", "-trimpath", "-p", "2", "-ldflags", "-s -w"),
            *("-o", str(PROGRAM), "github.com/jaegertracing/jaeger/cmd/jaeger"),
        ],
        cwd=MODULE,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"},
        check=True,
    )
    print(f"  built after {time.monotonic() - started:.0f} s", flush=True)
    _STAMP.write_text(_fingerprint(), encoding="utf-8")


def _is_current() -> bool:
    return _STAMP.exists() and _STAMP.read_text(encoding="utf-8") == _fingerprint()


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((MODULE / name).read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Build Jaeger. Without Go, print the reason; the tests then skip, or fail where `CI` is set."""
    reason = missing_compiler()
    if reason is not None:
        print(f"cannot build Jaeger: {reason}", flush=True)
        return
    install()


if __name__ == "__main__":
    main()
