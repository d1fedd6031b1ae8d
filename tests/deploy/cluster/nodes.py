"""Nodes without containers. They report each pod as running, as a kubelet does, and start no process.

A pod that never restarts, such as a pod of `helm test`, succeeds at once. A pod with an image tagged `broken` never
becomes ready. As with a kubelet, a pod waits until the secrets and ConfigMaps to which it refers exist.
"""

import itertools
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.deploy.cluster.control_plane import HOST, ControlPlane

ZONES = ("zone-a", "zone-b", "zone-c")
BROKEN_TAG = ":broken"
LOG_EVENTS = ("websocket opened", "ERROR", "user_id=123")
"""The texts of the three log lines of each container."""

_POLL_SECONDS = 0.2
_STATUS = {"Content-Type": "application/strategic-merge-patch+json"}


@contextmanager
def run(control_plane: ControlPlane) -> Iterator[None]:
    """Register one node in each zone, and report the status of the nodes' pods until the context ends."""
    stopped = threading.Event()
    with control_plane.client() as client, _log_server(control_plane) as port:
        for zone in ZONES:
            _register(client, zone, port)
        thread = threading.Thread(
            target=_report, args=(client, stopped), name="nodes of the test cluster"
        )
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


def _register(client: httpx.Client, zone: str, port: int) -> None:
    name = f"node-{zone}"
    labels = {"topology.kubernetes.io/zone": zone, "kubernetes.io/hostname": name}
    client.post(
        "/api/v1/nodes",
        json={
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
        },
    ).raise_for_status()
    resources = {"cpu": "64", "memory": "256Gi", "pods": "500"}
    condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
    status = {
        "capacity": resources,
        "allocatable": resources,
        "conditions": [{**condition, "lastHeartbeatTime": _now(), "lastTransitionTime": _now()}],
        "addresses": [{"type": "InternalIP", "address": HOST}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    client.patch(
        f"/api/v1/nodes/{name}/status", json={"status": status}, headers=_STATUS
    ).raise_for_status()


def _report(client: httpx.Client, stopped: threading.Event) -> None:
    reporter = _Reporter(client)
    while not stopped.wait(_POLL_SECONDS):
        answer = client.get("/api/v1/pods", params={"fieldSelector": "spec.nodeName!="})
        answer.raise_for_status()
        for pod in answer.json()["items"]:
            reporter.report(pod)


class _Reporter:
    """Reports the status of the pods of all nodes to the API server."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self._address_numbers = itertools.count(1)

    def report(self, pod: dict[str, Any]) -> None:
        """Report the status of one pod, or remove the pod if it is being deleted."""
        metadata = pod["metadata"]
        url = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if "deletionTimestamp" in metadata:
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
            self.client.request("DELETE", url, json=options)
            return
        status = self._new_status(pod)
        if status is not None:
            self.client.patch(f"{url}/status", json={"status": status}, headers=_STATUS)

    def _new_status(self, pod: dict[str, Any]) -> dict[str, Any] | None:
        """Return the status to report for a pod, or None if this status was reported already."""
        if pod["status"]["phase"] in ("Running", "Succeeded"):
            return None
        reason = self._obstacle(pod)
        if reason is not None:
            return None if _is_reported_as_waiting(pod) else _waiting_status(pod, reason)
        number = next(self._address_numbers)
        return _started_status(pod, f"10.244.{number // 250}.{number % 250 + 1}")

    def _obstacle(self, pod: dict[str, Any]) -> str | None:
        """Return the reason why a kubelet would not start the pod, or None."""
        if any(each["image"].endswith(BROKEN_TAG) for each in pod["spec"]["containers"]):
            return "ErrImagePull"
        namespace = pod["metadata"]["namespace"]
        for kind, name, key in _references(pod["spec"]):
            answer = self.client.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}")
            if answer.status_code != 200 or (key and key not in answer.json().get("data", {})):
                return "CreateContainerConfigError"
        return None


def _references(spec: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Yield the kind, the name and the key of each secret and ConfigMap without which a pod does not start."""
    kinds = {"secret": "secrets", "configMap": "configmaps"}
    for container in spec["containers"]:
        for variable in container.get("env", []):
            for kind, plural in kinds.items():
                source = variable.get("valueFrom", {}).get(f"{kind}KeyRef")
                if source and not source.get("optional"):
                    yield plural, source["name"], source["key"]
    for volume in spec.get("volumes", []):
        for kind, plural in kinds.items():
            if kind in volume and not volume[kind].get("optional"):
                name = volume[kind]["secretName" if kind == "secret" else "name"]
                yield plural, name, None


def _is_reported_as_waiting(pod: dict[str, Any]) -> bool:
    """Return whether a pending pod was already reported as waiting."""
    return bool(pod["status"].get("containerStatuses"))


def _waiting_status(pod: dict[str, Any], reason: str) -> dict[str, Any]:
    states = {"waiting": {"reason": reason, "message": "no container runs on a test node"}}
    return {"phase": "Pending", "containerStatuses": _container_statuses(pod, states, ready=False)}


def _started_status(pod: dict[str, Any], address: str) -> dict[str, Any]:
    ends = pod["spec"]["restartPolicy"] != "Always"
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": _now(), "finishedAt": _now()}
    states: dict[str, Any] = {"terminated": ended} if ends else {"running": {"startedAt": _now()}}
    ready = {"status": "False" if ends else "True", "lastTransitionTime": _now()}
    return {
        "phase": "Succeeded" if ends else "Running",
        "hostIP": HOST,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": _now(),
        "conditions": [
            {"type": "Initialized", "status": "True", "lastTransitionTime": _now()},
            {"type": "Ready", **ready},
            {"type": "ContainersReady", **ready},
        ],
        "containerStatuses": _container_statuses(pod, states, ready=not ends),
    }


def _container_statuses(
    pod: dict[str, Any], state: dict[str, Any], *, ready: bool
) -> list[dict[str, Any]]:
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": ready,
            "started": ready,
            "restartCount": 0,
            "state": state,
        }
        for container in pod["spec"]["containers"]
    ]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _log_server(control_plane: ControlPlane) -> Iterator[int]:
    """Serve the log of each container, which the API server requests from kubelets. Yield the port."""
    server = ThreadingHTTPServer((HOST, 0), _Logs)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        control_plane.certificates.server, control_plane.certificates.server_key
    )
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, name="logs of the test cluster")
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Logs(BaseHTTPRequestHandler):
    """Answers requests for `/containerLogs/NAMESPACE/POD/CONTAINER`."""

    def do_GET(self) -> None:
        """Send log lines with the namespace, pod and container from the path."""
        path = self.path.partition("?")[0]
        found = path.startswith("/containerLogs/")
        name = path.removeprefix("/containerLogs/")
        body = "".join(f"{_now()} {event} {name}\n" for event in LOG_EVENTS).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print no line for each request."""
