"""Measure the bare handler and the gateways in turns: `python -m bench.http`.

The measured servers run on one core, all other processes on the other cores.
"""

import asyncio
import contextlib
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import uvloop

from bench.http import handler
from bench.http.load import Result, Server, run
from svgx_common.contract.policy import Role
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.signing_keys import secret_key
from svgx_devstack import DevStack
from svgx_devstack.ports import choose

ROUNDS = 5

SECONDS = 3.0
"""Seconds of one measurement."""

GATEWAYS = {"gateway": "1", "gateway, 1 of 10 traced": "0.1"}
"""The share of requests that each measured gateway traces, by the gateway's name."""

MANY_CONNECTIONS = 32
"""Connections for the throughput. The latency is measured with one connection."""


def authorization(secret: str) -> dict[str, str]:
    """Return the header with an access token of an editor."""
    now = int(time.time())
    claims = tokens.AccessClaims("u", "ada", Role.EDITOR, "s", "t", now, now + 3600)
    return {"Authorization": f"Bearer {tokens.sign(claims, secret_key(secret))}"}


@contextlib.contextmanager
def collector() -> Iterator[str]:
    """Run a trace collector that drops all traces, and yield its address."""

    class DropTraces(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), DropTraces)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def process(arguments: list[str], environment: dict[str, str], core: int | None) -> Iterator[int]:
    """Run a Python process, and yield its id. With `core`, the process runs on this core only."""
    child = subprocess.Popen([sys.executable, *arguments], env={**os.environ, **environment})  # noqa: S603
    try:
        if core is not None:
            os.sched_setaffinity(child.pid, {core})
        yield child.pid
    finally:
        child.terminate()
        child.wait()


def wait_for(url: str, headers: dict[str, str]) -> None:
    """Wait until the address answers 200. Raises `TimeoutError` after 30 s."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        with contextlib.suppress(OSError), urllib.request.urlopen(request) as answer:  # noqa: S310
            if answer.status == 200:
                return
    raise TimeoutError(url)


async def measure(home: Path) -> dict[tuple[str, int], list[Result]]:
    """Run all servers and measure them in turns. Return the results by server and number of connections."""
    cores = os.sched_getaffinity(0)
    server_core = min(cores)
    # All processes that are started here inherit these cores.
    os.sched_setaffinity(0, cores - {server_core} or cores)
    secret = secrets.token_hex(32)
    headers = authorization(secret)
    ports = {name: choose() for name in ("bare", *GATEWAYS)}
    stack = DevStack(home)
    await stack.up(backing_only=True)
    results: dict[tuple[str, int], list[Result]] = {}
    try:
        with collector() as endpoint, contextlib.ExitStack() as started:
            common = {"LOG_LEVEL": "WARNING", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
            gateway = common | {
                "NATS_URL": stack.nats_url("gateway"),
                "REDIS_URL": stack.redis_url,
                "JWT_SECRET": secret,
                "API_HOST": "127.0.0.1",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "RATE_LIMIT_REQUESTS_PER_MINUTE": "10000000",
            }
            service = {"NATS_URL": stack.nats_url("auth")}
            started.enter_context(process(["-m", "bench.http", "service"], service, None))
            programs = {
                "bare": (["-m", "bench.http", "bare", str(ports["bare"])], dict[str, str]()),
                **{
                    name: (
                        ["-m", "svgx_gateway"],
                        gateway | {"API_PORT": str(ports[name]), "OTEL_TRACES_SAMPLER_ARG": share},
                    )
                    for name, share in GATEWAYS.items()
                },
            }
            servers = {
                name: Server(ports[name], started.enter_context(process(*program, server_core)))
                for name, program in programs.items()
            }
            for port in ports.values():
                await asyncio.to_thread(wait_for, f"http://127.0.0.1:{port}/auth/me", headers)
            for _ in range(ROUNDS):
                for connections in (1, MANY_CONNECTIONS):
                    for name, server in servers.items():
                        result = await run(server, headers, connections, SECONDS)
                        results.setdefault((name, connections), []).append(result)
    finally:
        await stack.down()
        os.sched_setaffinity(0, cores)
    return results


def table(results: dict[tuple[str, int], list[Result]]) -> str:
    """Return the medians of the rounds as a Markdown table."""
    many_connections = f"{MANY_CONNECTIONS} connections"
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    lines = [
        f"{machine}; {ROUNDS} rounds of {SECONDS:g} s in turns, medians.",
        "",
        (
            "| | p50 ms, 1 connection | p99 ms, 1 connection"
            f" | requests/s, {many_connections} | p50 ms, {many_connections} | p99 ms, {many_connections}"
            " | CPU ms a request |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("bare", *GATEWAYS):
        single, many = results[name, 1], results[name, MANY_CONNECTIONS]
        cells = [
            f"{median(each.quantile(0.5) for each in single):.2f}",
            f"{median(each.quantile(0.99) for each in single):.2f}",
            f"{median(each.rate for each in many):.0f}",
            f"{median(each.quantile(0.5) for each in many):.2f}",
            f"{median(each.quantile(0.99) for each in many):.2f}",
            f"{median(each.cost for each in many):.3f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("")
    for name in GATEWAYS:
        latencies = zip(results["bare", 1], results[name, 1], strict=True)
        throughputs = list(
            zip(results["bare", MANY_CONNECTIONS], results[name, MANY_CONNECTIONS], strict=True)
        )
        added = median(gateway.quantile(0.5) - bare.quantile(0.5) for bare, gateway in latencies)
        rate = median(gateway.rate / bare.rate for bare, gateway in throughputs)
        cost = median(bare.cost / gateway.cost for bare, gateway in throughputs)
        lines.append(
            f"{name}: {added:.2f} ms added at p50; {rate:.0%} of the bare throughput, "
            f"{cost:.0%} by processor time."
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Run the benchmark. With the argument `bare` or `service`, run one of its servers instead."""
    match arguments:
        case []:
            with tempfile.TemporaryDirectory() as home:
                print(table(uvloop.run(measure(Path(home)))))
        case ["bare", port]:
            handler.bare(int(port))
        case ["service"]:
            uvloop.run(handler.service())
        case _:
            raise SystemExit("use: python -m bench.http")


if __name__ == "__main__":
    main(sys.argv[1:])
