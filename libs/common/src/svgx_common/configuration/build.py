"""The build of a service: the version of its package, and the revision of the source code."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as package_version

VARIABLE = "SVGX_REVISION"
"""The environment variable with the revision. The images set it. The setting `svgx_revision` checks its value."""

UNKNOWN = "unknown"
"""The revision of a process that was started without `SVGX_REVISION`."""


@dataclass(frozen=True, slots=True)
class BuildId:
    """The version, such as `1.4.0`, and the revision, such as a commit's hash."""

    version: str
    revision: str

    def __str__(self) -> str:
        return f"{self.version} (revision {self.revision})"


def build_of(service: str, environ: Mapping[str, str] = os.environ) -> BuildId:
    """Return the build of the service that runs in this process."""
    return BuildId(package_version(f"svgx-{service}"), environ.get(VARIABLE, "").strip() or UNKNOWN)
