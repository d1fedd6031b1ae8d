"""One Helm release of a chart in the cluster."""

from dataclasses import dataclass
from pathlib import Path

from tests.deploy.cluster.cluster import Cluster

NATS = ("--set", "nats.url=nats://nats.example:4222")
"""Arguments that each chart of a single service requires, unlike the umbrella chart."""

TRIAL = ("--set", "postgresql.enabled=true,valkey.enabled=true")
"""Arguments with which the umbrella chart also installs PostgreSQL and Valkey."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release of a chart.

    `program` is `helm3` or `helm4`, `charts` is the folder of the built charts, and each installation and upgrade gets
    `arguments`.
    """

    cluster: Cluster
    program: str
    charts: Path
    chart: str
    namespace: str
    arguments: tuple[str, ...] = ()
    name: str = "svgx"

    def install(self, *arguments: str) -> str:
        """Install the release, and wait until everything is ready."""
        return self._deploy("install", *arguments)

    def upgrade(self, *arguments: str) -> str:
        """Upgrade the release, and wait until everything is ready."""
        return self._deploy("upgrade", *arguments)

    def run(self, command: str, *arguments: str) -> str:
        """Run another Helm command, such as `rollback`, for this release."""
        return self.cluster.helm(
            self.program, command, self.name, "--namespace", self.namespace, *arguments
        )

    def uninstall(self) -> str:
        """Remove the release, and wait until its objects are removed."""
        return self.run("uninstall", "--wait")

    def _deploy(self, command: str, *arguments: str) -> str:
        return self.cluster.helm(
            self.program,
            *(command, self.name, self.chart, "--namespace", self.namespace),
            *("--wait", "--timeout", "180s", *self.arguments, *arguments),
            folder=self.charts,
        )

    def replicas(self, service: str) -> int:
        """Return the desired number of replicas of a service."""
        found = self.cluster.get("deployment", f"svgx-{service}", "--namespace", self.namespace)
        return int(found["spec"]["replicas"])

    def scale(self, service: str, replicas: int) -> None:
        """Scale a service with `kubectl scale`."""
        self.cluster.kubectl(
            *("scale", "deployment", f"svgx-{service}", f"--replicas={replicas}"),
            *("--namespace", self.namespace),
        )
