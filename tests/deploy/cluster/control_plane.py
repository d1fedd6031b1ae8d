"""Start etcd, the API server, the controllers and the scheduler of Kubernetes as processes on loopback ports."""

import json
import secrets
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from svgx_devstack import ports
from svgx_devstack.process import Process
from svgx_devstack.program import Program
from tests.deploy.cluster import certificates, programs

HOST = ports.HOST


class ControlPlane:
    """The processes of a cluster without nodes, and the account of its administrator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates = certificates.create(folder)
        self.token = secrets.token_hex(16)
        self.kubeconfig = folder / "kubeconfig"
        taken: list[int] = []
        for _ in range(5):
            taken.append(ports.choose(taken))
        self._etcd_port, self._peer_port, self._api_port = taken[:3]
        self._controllers_port, self._scheduler_port = taken[3:]
        self.url = f"https://{HOST}:{self._api_port}"
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        """Start all processes, and wait until each is ready."""
        self._write_files()
        for name, arguments, health in (
            ("etcd", self._etcd(), f"http://{HOST}:{self._etcd_port}/readyz"),
            ("kube-apiserver", self._api_server(), f"{self.url}/readyz"),
            (
                "kube-controller-manager",
                self._controllers(),
                f"https://{HOST}:{self._controllers_port}/healthz",
            ),
            ("kube-scheduler", self._scheduler(), f"https://{HOST}:{self._scheduler_port}/readyz"),
        ):
            await self._start(name, arguments, health)
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop all processes, the last one first."""
        for process in reversed(self._processes):
            process.restart = False
            await process.stop()

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """Open an HTTP client with the rights of the administrator."""
        with httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token}"},
            verify=ssl.create_default_context(cafile=str(self.certificates.authority)),
            timeout=30,
        ) as client:
            yield client

    async def _start(self, name: str, arguments: dict[str, Any], health: str) -> None:
        options = [f"--{option}={value}" for option, value in arguments.items()]
        process = Process(
            Program(
                name=name,
                argv=(str(programs.FOLDER / name), *options),
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder)},
                log_path=self.folder / f"{name}.log",
                pid_path=self.folder / f"{name}.pid",
                ready=self._check_of(health),
            )
        )
        self._processes.append(process)
        await process.start()
        await process.wait_ready(120, max_exits=0)

    def _check_of(self, url: str) -> Callable[[], Awaitable[bool]]:
        """Return a check of whether this URL answers with status 200."""

        async def ready() -> bool:
            # The controllers and the scheduler use self-signed certificates.
            async with httpx.AsyncClient(verify=False) as client:
                try:
                    answer = await client.get(
                        url, headers={"Authorization": f"Bearer {self.token}"}
                    )
                except httpx.TransportError:
                    return False
            return answer.status_code == 200

        return ready

    def _etcd(self) -> dict[str, Any]:
        client, peer = f"http://{HOST}:{self._etcd_port}", f"http://{HOST}:{self._peer_port}"
        return {
            "data-dir": self.folder / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        }

    def _api_server(self) -> dict[str, Any]:
        files = self.certificates
        return {
            "etcd-servers": f"http://{HOST}:{self._etcd_port}",
            "bind-address": HOST,
            "advertise-address": HOST,
            "endpoint-reconciler-type": "none",
            "secure-port": self._api_port,
            "tls-cert-file": files.server,
            "tls-private-key-file": files.server_key,
            "token-auth-file": self.folder / "tokens.csv",
            "authorization-mode": "RBAC",
            "service-cluster-ip-range": "10.96.0.0/16",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": files.accounts_key,
            "service-account-signing-key-file": files.accounts_key,
        }

    def _controllers(self) -> dict[str, Any]:
        return {
            "kubeconfig": self.kubeconfig,
            "bind-address": HOST,
            "secure-port": self._controllers_port,
            "authentication-kubeconfig": self.kubeconfig,
            "authorization-kubeconfig": self.kubeconfig,
            "leader-elect": "false",
            "root-ca-file": self.certificates.authority,
            "service-account-private-key-file": self.certificates.accounts_key,
            # The test nodes send no heartbeats.
            "node-monitor-grace-period": "10h",
            # The autoscaler's usual delays would slow down the tests.
            "horizontal-pod-autoscaler-sync-period": "1s",
            "horizontal-pod-autoscaler-initial-readiness-delay": "0s",
            "horizontal-pod-autoscaler-cpu-initialization-period": "0s",
            # The custom resource that replaces the metrics server's API supports only JSON.
            "kube-api-content-type": "application/json",
        }

    def _scheduler(self) -> dict[str, Any]:
        return {
            "kubeconfig": self.kubeconfig,
            "bind-address": HOST,
            "secure-port": self._scheduler_port,
            "authentication-kubeconfig": self.kubeconfig,
            "authorization-kubeconfig": self.kubeconfig,
            "leader-elect": "false",
        }

    def _write_files(self) -> None:
        tokens = self.folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f"{self.token},admin,admin,system:masters\n", encoding="utf-8")
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(self._client_configuration()), encoding="utf-8")

    def _client_configuration(self) -> dict[str, Any]:
        authority = str(self.certificates.authority)
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [
                {
                    "name": "tests",
                    "cluster": {"server": self.url, "certificate-authority": authority},
                }
            ],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
        }
