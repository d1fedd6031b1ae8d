"""The metrics of all services, as their code declares them, and the values that their labels may have."""

import functools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from svgx_common.contract import OPERATIONS
from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import SvgxError
from svgx_common.contract.live.json_messages import CLIENT_MESSAGES
from svgx_common.contract.live.rejections import Reason
from svgx_common.contract.operation import SERVICES
from svgx_common.contract.policy import Pool, RateClass
from svgx_common.contract.storage.events import EVENTS
from svgx_common.contract.storage.quotas import QuotaName, QuotaStatus
from svgx_common.contract.storage.versions import VersionKind
from svgx_workers.confinement import PARTS

PREFIX = "svgx_engine_"

_PROGRAM = """
import importlib, json, os, sys
for name in ("asyncpg", "fastapi", "httpx", "nats.aio.client", "opentelemetry.sdk.trace", "redis.asyncio", "uvicorn",
             "svgx_common.contract"):
    importlib.import_module(name)
for service in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    importlib.import_module(f"svgx_{service}.app")
    importlib.import_module("svgx_common.runtime")
    from prometheus_client import REGISTRY
    for each in set(REGISTRY._collector_to_names):
        if getattr(each, "_name", "").startswith("svgx_engine_"):
            print(json.dumps([service, each._name, each._type, each._labelnames, each._documentation]))
    sys.stdout.flush()
    os._exit(0)
"""
"""A program that prints the metrics of each service. It imports each service in its own process, because all metrics
of a process are in one registry."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric family. `name` is the name of a counter or gauge in PromQL, and the beginning of a histogram's names."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str
    services: tuple[str, ...]

    def series(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield the name and the labels of each time series in PromQL."""
        labels = frozenset(self.labels)
        if self.kind == "histogram":
            yield f"{self.name}_bucket", labels | {"le"}
            yield f"{self.name}_sum", labels
            yield f"{self.name}_count", labels
        else:
            yield self.name, labels


@functools.cache
def catalogue() -> tuple[Metric, ...]:
    """Return all metrics, sorted by name."""
    completed = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _PROGRAM, *SERVICES], capture_output=True, text=True, check=True
    )
    declared: dict[str, tuple[str, list[str], str]] = {}
    services: dict[str, list[str]] = {}
    for service, name, kind, labels, text in map(json.loads, completed.stdout.splitlines()):
        declared[name] = kind, labels, text
        services.setdefault(name, []).append(service)
    return tuple(
        Metric(
            name=f"{name}_total" if kind == "counter" else name,
            kind=kind,
            labels=tuple(labels),
            text=text,
            services=tuple(services[name]),
        )
        for name, (kind, labels, text) in sorted(declared.items())
    )


@dataclass(frozen=True, slots=True)
class Label:
    """A label's meaning and values. `values` is empty if each replica has one value, such as its version."""

    meaning: str
    values: frozenset[str] = frozenset()


def _codes() -> set[str]:
    return {SvgxError.code, *(each.code for each in SvgxError.__subclasses__())}


LABELS: Mapping[str, Label] = {
    "action": Label(
        "action on stored values", frozenset({"persist", "retrieve", "delete", "list"})
    ),
    "backend": Label("backend of stored values", frozenset({"postgresql", "redis", "memory"})),
    "bound": Label(
        "bound that refused an edit, or for which a sync waited",
        frozenset(
            {each.name.lower() for each in Reason} - {"malformed"}
            | {"connection", "account", "memory"}
        ),
    ),
    "cache": Label("cache of the gateway", frozenset({"api_keys", "canvas_roles", "share_links"})),
    "channel": Label("channel to a held canvas", frozenset({"awareness", "edit", "link", "sync"})),
    "circuit": Label(
        "service, or service and pool of operations",
        frozenset(SERVICES) | {f"{service}.{pool}" for service in SERVICES for pool in Pool},
    ),
    "code": Label(
        "outcome: `ok`, `client_gone` or an error's code; for WebSockets the close code, or `other`",
        frozenset(
            {"ok", "client_gone", "other", *_codes()}
            | {str(code) for code in (*range(1000, 1015), *map(int, Close))}
        ),
    ),
    "component": Label("service", frozenset(SERVICES)),
    "dependency": Label(
        "dependency of a service",
        frozenset({"nats", "postgresql", "redis", "revocations", "token_keys"}),
    ),
    "kind": Label("entity that a quota limits", frozenset({"account", "canvas"})),
    "limit": Label(
        "limit that refused or closed a WebSocket, or that refused a request body",
        frozenset({"connections", "identity", "handshake_rate", "rate", "handshake"})
        | {"memory", "time"},
    ),
    "operation": Label(
        "operation of the contract", frozenset(operation.name for operation in OPERATIONS)
    ),
    "outcome": Label(
        "outcome; the metric's text explains the values",
        frozenset({"saved", "late", "rejected", "failed", "written", "skipped", "hit", "miss"})
        | {"delivered", "dead", "ok", "refused", "shared", "restored"}
        | {"complete", "partial", "passed"},
    ),
    "part": Label("part of the workers' confinement", frozenset(PARTS)),
    "pool": Label("pool of operations", frozenset(Pool)),
    "quota": Label("quota of an account or a canvas", frozenset(QuotaName)),
    "python": Label("version of Python"),
    "revision": Label("revision of the source code"),
    "rate_class": Label("class of a rate limit", frozenset(RateClass)),
    "reason": Label(
        "reason; the metric's text explains the values",
        frozenset({"share", "full", "idle", "handed_over", "lease_lost", "failed", "deleted"})
        # reasons to move a canvas to a reserved replica, and to release it there
        | {"busy", "calm"}
        # reasons why a link did not settle a batch
        | {"gone", "not_held", "refused", "timeout"}
        # reasons to close a WebSocket because of outgoing bytes
        | {"wait", "slow"}
        # reasons to remove a version, and kinds of new versions
        | {"thinned", "expired"}
        | frozenset(VersionKind),
    ),
    "state": Label(
        "state; the metric's text explains the values",
        frozenset({"in_use", "idle", "running", "waiting"}),
    ),
    "status": Label(
        "kind of HTTP status, or status of a quota",
        frozenset(f"{each}xx" for each in range(1, 6)) | frozenset(QuotaStatus),
    ),
    "type": Label(
        "type of a domain event, or of a JSON client's message",
        frozenset(EVENTS) | frozenset(CLIENT_MESSAGES),
    ),
    "version": Label("version of the service"),
}
"""All labels. A label that is not here could have any number of values, so a test refuses it."""

TARGET_LABELS = frozenset(
    {"container", "endpoint", "instance", "job", "namespace", "node", "pod", "service"}
)
"""The labels that Prometheus and the Prometheus Operator set on targets."""
