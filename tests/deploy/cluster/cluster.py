"""Commands for a running cluster: kubectl, both versions of Helm, and unchanged commands from a document."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.build.tools import FOLDER as TOOLS
from tests.deploy.cluster.control_plane import ControlPlane

_POLL_SECONDS = 0.1
RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")
}
"""Labels of a namespace in which the API server refuses pods that break the Pod Security Standard `restricted`."""


class CommandError(Exception):
    """A command that failed. The text is the command line, its output and its error output."""


@dataclass(frozen=True, slots=True)
class Result:
    """The output of a command that succeeded."""

    output: str
    errors: str


class Cluster:
    """A cluster, and the programs that use it."""

    def __init__(self, control_plane: ControlPlane, folder: Path) -> None:
        self._kubeconfig = control_plane.kubeconfig
        self._home = folder
        self.programs = folder / "bin"
        """A folder for PATH with `kubectl` and `helm`. Fixtures may add more programs."""
        self.programs.mkdir()
        (self.programs / "kubectl").symlink_to(TOOLS / "kubectl")
        (self.programs / "helm").symlink_to(TOOLS / "helm4")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl, and return its output. Raise `CommandError` when it fails."""
        return self.run(str(TOOLS / "kubectl"), *arguments, stdin=stdin).output

    def get(self, *arguments: str) -> Any:
        """Return the object or the list of objects that `kubectl get` finds."""
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Create or change objects."""
        # JSON, because the YAML of Kubernetes would read a name such as `n` as false.
        everything = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(everything))

    def helm(self, program: str, *arguments: str, folder: Path | None = None) -> str:
        """Run `helm3` or `helm4`, and return its output. Raise `CommandError` when it fails."""
        return self.run(str(TOOLS / program), *arguments, folder=folder).output

    def shell(self, command: str, *, folder: Path | None = None) -> str:
        """Run an unchanged command of a document with bash, and return its output.

        The command finds `kubectl` and `helm` (Helm 4) on PATH, and the cluster by KUBECONFIG.
        Raise `CommandError` when the command fails.
        """
        return self.run("bash", "-euo", "pipefail", "-c", command, folder=folder).output

    def run(self, *command: str, stdin: str | None = None, folder: Path | None = None) -> Result:
        """Run a program with the account of the cluster's administrator. Raise `CommandError` when it fails."""
        result = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            cwd=folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if result.returncode != 0:
            raise CommandError(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
        return Result(result.stdout, result.stderr)

    def environment(self) -> dict[str, str]:
        """Return the environment variables of commands. `HOME` is a test folder, where Helm and kubectl keep files."""
        return {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self._home),
            "KUBECONFIG": str(self._kubeconfig),
        }

    def wait(self, condition: Callable[[], bool], description: str, seconds: float = 120) -> None:
        """Wait until a condition is true. After `seconds`, raise `TimeoutError` with the description."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise TimeoutError(f"not true within {seconds:.0f} s: {description}")
            time.sleep(_POLL_SECONDS)

    @contextlib.contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """Create a namespace with the standard `restricted`, and delete it with all its objects at the end."""
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": RESTRICTED},
            }
        )
        try:
            # Kubernetes refuses pods until it has created this account.
            self.kubectl(
                *("wait", "--for=create", "serviceaccount/default", "--timeout=60s"),
                *("--namespace", name),
            )
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait", "--timeout=240s")

    def objects(self, namespace: str) -> set[str]:
        """Return kind and name of all objects in a namespace, except objects that Kubernetes itself creates."""
        types = self.kubectl(
            *("api-resources", "--namespaced", "--verbs", "list,get", "--output", "name")
        ).split()
        found = self.get(",".join(sorted(set(types) - _KUBERNETES_TYPES)), "--namespace", namespace)
        return {
            f"{each['kind']}/{each['metadata']['name']}" for each in found["items"]
        } - _IN_EACH_NAMESPACE

    def cluster_objects(self) -> set[str]:
        """Return kind and name of all objects outside of namespaces.

        Namespaces, volumes and component statuses are left out.
        """
        types = self.kubectl(
            *("api-resources", "--namespaced=false", "--verbs", "list,get", "--output", "name")
        ).split()
        wanted = set(types) - {"persistentvolumes", "namespaces", "componentstatuses"}
        found = self.get(",".join(sorted(wanted)))
        return {f"{each['kind']}/{each['metadata']['name']}" for each in found["items"]}


_KUBERNETES_TYPES = {"events", "events.events.k8s.io", "pods.metrics.k8s.io"}
"""Types of objects that Kubernetes creates and removes by itself: events and pod measurements."""

_IN_EACH_NAMESPACE = {"ServiceAccount/default", "ConfigMap/kube-root-ca.crt"}
"""Objects that Kubernetes creates in each namespace."""
