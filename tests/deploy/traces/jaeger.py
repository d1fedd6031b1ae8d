"""Two processes of Jaeger: a collector with the shipped configuration, and a store for the collector's traces."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deploy.build.tools import ROOT
from svgx_devstack import ports
from svgx_devstack.ports import HOST
from svgx_devstack.process import Process
from svgx_devstack.program import Program
from tests.deploy.go_program import JAEGER

CONFIGURATION = ROOT / "deploy" / "otel" / "collector.yaml"


@dataclass(frozen=True, slots=True)
class Jaeger:
    """The addresses of both processes, with methods that read the stored traces.

    `endpoint` (for `OTEL_EXPORTER_OTLP_ENDPOINT`) is the collector's address. `query` is the address of Jaeger's API.
    """

    endpoint: str
    query: str

    async def services(self) -> set[str]:
        """Return the names of the services that have traces."""
        return set(await self._get("/api/services") or [])

    async def traces(self, service: str) -> list[dict[str, Any]]:
        """Return all traces with a span of a service."""
        return list(await self._get(f"/api/traces?service={service}&limit=10000") or [])

    async def trace(self, trace_id: str) -> dict[str, Any] | None:
        """Return one trace, or None while Jaeger does not have it."""
        found = await self._get(f"/api/traces/{trace_id}")
        return dict(found[0]) if found else None

    async def _get(self, path: str) -> Any:
        async with httpx.AsyncClient(base_url=self.query, timeout=30) as http:
            answer = await http.get(path)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.json()["data"]


@asynccontextmanager
async def run(folder: Path, decision_wait: str) -> AsyncIterator[Jaeger]:
    """Run both processes. Replace the addresses and `decision_wait` of the shipped configuration."""
    taken: list[int] = []
    for _ in range(4):
        taken.append(ports.choose(taken))
    received, stored, query, query_grpc = (f"{HOST}:{port}" for port in taken)
    quiet = {"telemetry": {"metrics": {"level": "none"}}}
    changes = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": received}}}},
        "processors": {"tail_sampling": {"decision_wait": decision_wait}},
        "exporters": {"otlp": {"endpoint": stored}},
        "service": quiet,
    }
    memory = {"backends": {"memory": {"memory": {"max_traces": 100_000}}}}
    pipeline = {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}
    storage = {
        "extensions": {
            "jaeger_storage": memory,
            "jaeger_query": {
                "storage": {"traces": "memory"},
                "http": {"endpoint": query},
                "grpc": {"endpoint": query_grpc},
            },
        },
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": stored}}}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
        "service": {
            **quiet,
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {"traces": pipeline},
        },
    }
    jaeger = Jaeger(f"http://{received}", f"http://{query}")
    async with AsyncExitStack() as stack:
        for name, files, ready in (
            ("storage", [_write(folder, "storage", storage)], f"{jaeger.query}/api/services"),
            (
                "collector",
                [CONFIGURATION, _write(folder, "changes", changes)],
                f"{jaeger.endpoint}/v1/traces",
            ),
        ):
            process = Process(_program(folder, name, files, ready))
            stack.push_async_callback(_stop, process)
            await process.start()
            await process.wait_ready(60, max_exits=0)
        yield jaeger


async def _stop(process: Process) -> None:
    process.restart = False
    await process.stop()


def _write(folder: Path, name: str, configuration: Mapping[str, Any]) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(configuration), encoding="utf-8")
    return path


def _program(folder: Path, name: str, files: list[Path], ready: str) -> Program:
    return Program(
        name=name,
        argv=(str(JAEGER.path), *(f"--config=file:{path}" for path in files)),
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        log_path=folder / f"{name}.log",
        pid_path=folder / f"{name}.pid",
        ready=_answers(ready),
    )


def _answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Return a function that returns whether an HTTP server answers at this address, with any status."""

    async def ready() -> bool:
        async with httpx.AsyncClient() as http:
            try:
                await http.get(url)
            except httpx.TransportError:
                return False
        return True

    return ready
