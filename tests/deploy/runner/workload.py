"""Controllers of Deployments and StatefulSets, which start pods and replace them as the rendered objects specify."""

import copy
import math
import uuid
from collections.abc import Awaitable, Callable
from typing import Protocol

from tests.deploy.objects import Object
from tests.deploy.runner.pod import Pod


class Cluster(Protocol):
    """The part of the cluster that a controller needs. `changes` counts the changes of pods."""

    changes: int

    async def create_pod(self, pod: Object) -> Pod:
        """Start the pod of a manifest."""

    async def until(self, condition: Callable[[], bool], goal: str) -> None:
        """Wait until the condition is true. Check it at once, and after each change of any pod.

        After a timeout, the error names `goal`.
        """


class Workload:
    """The pods of one Deployment or StatefulSet."""

    def __init__(self, cluster: Cluster, workload: Object) -> None:
        self.kind: str = workload["kind"]
        self.name: str = workload["metadata"]["name"]
        self.replicas: int = workload["spec"]["replicas"]
        self.pods: list[Pod] = []
        self.most_pods = 0
        """The largest number of pods that existed at the same time, including terminating pods."""
        self._all_pods: list[Pod] = []
        self._cluster = cluster
        self._namespace: str = workload["metadata"]["namespace"]
        self._spec = workload["spec"]
        self._generation = 0

    async def start(self) -> None:
        """Create all pods, and wait until they are ready."""
        names = [self._name(number) for number in range(self.replicas)]
        self.pods = [await self._create(name) for name in names]
        await self._until(lambda: all(pod.ready for pod in self.pods), "is ready")

    async def restart(self) -> None:
        """Replace all pods by new pods, as `kubectl rollout restart` does, and wait until the old pods have ended."""
        self._generation += 1
        old = list(self.pods)
        await self._replace(old)
        await self._until(lambda: all(pod.gone for pod in old), "has stopped its old pods")

    async def _replace(self, old: list[Pod]) -> None:
        strategy = self._spec.get("strategy", {})
        if self.kind == "StatefulSet":
            # RollingUpdate, the default: replace the pod with the highest number first, and one pod at a time.
            for number in reversed(range(len(old))):
                await self._replace_one(number)
        elif strategy.get("type") == "Recreate":
            for pod in old:
                await self._remove(pod)
            await self.start()
        else:
            await self._roll(old, strategy["rollingUpdate"])

    async def _replace_one(self, number: int) -> None:
        """Replace the pod with this number in a StatefulSet. `pods` stays in the order of the numbers."""
        await self._remove(self.pods[number])
        self.pods.insert(number, await self._create(self._name(number)))
        await self._until(lambda: self.pods[number].ready, f"has a new pod {number}")

    async def _remove(self, pod: Pod) -> None:
        pod.delete()
        await pod.wait_gone()
        self.pods.remove(pod)

    async def _roll(self, old: list[Pod], settings: Object) -> None:
        """Start new pods within `maxSurge`, and stop old pods within `maxUnavailable`. Ignore terminating pods."""
        surge = rounded(settings["maxSurge"], self.replicas, math.ceil)
        unavailable = rounded(settings["maxUnavailable"], self.replicas, math.floor)
        new: list[Pod] = []
        while True:
            kept = [pod for pod in old if not pod.terminating]
            while len(new) < self.replicas and len(new) + len(kept) < self.replicas + surge:
                pod = await self._create(self._name(len(new)))
                new.append(pod)
                self.pods.append(pod)
            available = sum(pod.ready for pod in (*new, *kept))
            spare = max(0, available - (self.replicas - unavailable))
            for pod in kept[:spare]:
                pod.delete()
            kept = kept[spare:]
            if not kept and len(new) == self.replicas and all(pod.ready for pod in new):
                break
            await self._until_next_change()
        self.pods = new

    def _name(self, number: int) -> str:
        """Return the name of a pod. A restart keeps the names in a StatefulSet, and gives new names in a Deployment."""
        generation = "" if self.kind == "StatefulSet" else f"{self._generation}-"
        return f"{self.name}-{generation}{number}"

    async def _create(self, name: str) -> Pod:
        pod = copy.deepcopy(self._spec["template"])
        pod["metadata"] |= {"name": name, "uid": str(uuid.uuid4()), "namespace": self._namespace}
        for claim in self._spec.get("volumeClaimTemplates", []):
            volume = {"name": claim["metadata"]["name"], "persistentVolumeClaim": {}}
            pod["spec"].setdefault("volumes", []).append(volume)
        if self.kind == "StatefulSet":
            pod["spec"] |= {"hostname": name, "subdomain": self._spec["serviceName"]}
        created = await self._cluster.create_pod(pod)
        self._all_pods.append(created)
        self.most_pods = max(self.most_pods, sum(not each.gone for each in self._all_pods))
        return created

    async def _until_next_change(self) -> None:
        changes = self._cluster.changes
        await self._until(lambda: self._cluster.changes > changes, "has replaced all its pods")

    def _until(self, condition: Callable[[], bool], goal: str) -> Awaitable[None]:
        return self._cluster.until(condition, f"{self.name} {goal}")


def rounded(value: int | str, replicas: int, how: Callable[[float], int]) -> int:
    """Return a number of pods. `value` is this number, or a percentage of the replicas such as `25%`."""
    if isinstance(value, str):
        return how(int(value.removesuffix("%")) * replicas / 100)
    return value
