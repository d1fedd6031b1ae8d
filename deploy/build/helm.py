"""Run Helm on a copy of the charts, so that no build result stays in the repository."""

import shutil
import subprocess
from pathlib import Path

from deploy.build.tools import FOLDER
from deploy.build.values import CHARTS, HELM

RELEASE = NAMESPACE = "svgx"


class HelmError(Exception):
    """The error output of a Helm command that failed."""


class Helm:
    """One version of Helm (`helm3` or `helm4`) and a folder with built charts."""

    def __init__(self, program: str, charts: Path) -> None:
        self._program = FOLDER / program
        self.charts = charts

    def run(self, *arguments: str) -> str:
        """Run a command in the folder of the charts, and return its output. Raise `HelmError` when it fails."""
        result = subprocess.run(
            [str(self._program), *arguments],
            cwd=self.charts,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise HelmError(result.stderr)
        return result.stdout

    def template(self, chart: str, *arguments: str, release: str = RELEASE) -> str:
        """Return the rendered objects of a chart."""
        return self.run("template", release, chart, "--namespace", NAMESPACE, *arguments)


def copy_charts(folder: Path) -> Path:
    """Copy the charts into the folder, and build their dependencies. Return the folder of the copies.

    The umbrella is the last chart, because it contains the built charts of the services.
    """
    charts = folder / "helm"
    shutil.copytree(HELM, charts, ignore=shutil.ignore_patterns("charts", "Chart.lock", "rendered"))
    helm = Helm("helm4", charts)
    for chart in CHARTS:
        helm.run("dependency", "build", chart)
    return charts
