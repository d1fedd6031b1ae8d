"""`python -m bench.http`: bare and gateway in turns, in one run, each on one core of its own."""

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
GATEWAYS = {"gateway": "1", "gateway, 1 of 10 traced": "0.1"}
"""Name: the share of requests that is traced."""

CROWD = 32
"""Connections where requests a second are measured; times of one request alone are measured with one."""


def bearer(secret: str) -> dict[str, str]:
    """Who asks."""
    now = int(time.time())
    claims = tokens.AccessClaims("u", "ada", Role.EDITOR, "s", "t", now, now + 3600)
    return {"Authorization": f"Bearer {tokens.sign(claims, secret_key(secret))}"}


@contextlib.contextmanager
def collector() -> Iterator[str]:
    """Takes traces and forgets them."""

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def process(arguments: list[str], environment: dict[str, str], core: int | None) -> Iterator[int]:
    """A Python process, on one core if one is given; gives its id."""
    child = subprocess.Popen([sys.executable, *arguments], env={**os.environ, **environment})  # noqa: S603
    try:
        if core is not None:
            os.sched_setaffinity(child.pid, {core})
        yield child.pid
    finally:
        child.terminate()
        child.wait()


def wait_for(url: str, headers: dict[str, str]) -> None:
    """Return when this answers 200. Raises `TimeoutError` after 30 s."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        with contextlib.suppress(OSError), urllib.request.urlopen(request) as answer:  # noqa: S310
            if answer.status == 200:
                return
    raise TimeoutError(url)


async def measure(home: Path) -> dict[tuple[str, int], list[Result]]:
    """Results by who was asked and over how many connections."""
    cores = os.sched_getaffinity(0)
    own = min(cores)
    os.sched_setaffinity(0, cores - {own} or cores)  # with all that is started from here
    secret = secrets.token_hex(32)
    headers = bearer(secret)
    ports = {name: choose() for name in ("bare", *GATEWAYS)}
    stack = DevStack(home)
    await stack.up(backing_only=True)
    found: dict[tuple[str, int], list[Result]] = {}
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
                name: Server(ports[name], started.enter_context(process(*program, own)))
                for name, program in programs.items()
            }
            for port in ports.values():
                await asyncio.to_thread(wait_for, f"http://127.0.0.1:{port}/auth/me", headers)
            for _ in range(ROUNDS):
                for connections in (1, CROWD):
                    for name, server in servers.items():
                        result = await run(server, headers, connections, SECONDS)
                        found.setdefault((name, connections), []).append(result)
    finally:
        await stack.down()
        os.sched_setaffinity(0, cores)
    return found


def table(found: dict[tuple[str, int], list[Result]]) -> str:
    """Medians of the rounds, in Markdown."""
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    lines = [
        f"{machine}; {ROUNDS} rounds of {SECONDS:g} s in turns, medians.",
        "",
        f"| | p50 ms (1 connection) | p99 ms | requests/s ({CROWD} connections) | p50 ms | p99 ms | CPU ms a request |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("bare", *GATEWAYS):
        alone, crowd = found[name, 1], found[name, CROWD]
        cells = [
            f"{median(each.quantile(0.5) for each in alone):.2f}",
            f"{median(each.quantile(0.99) for each in alone):.2f}",
            f"{median(each.rate for each in crowd):.0f}",
            f"{median(each.quantile(0.5) for each in crowd):.2f}",
            f"{median(each.quantile(0.99) for each in crowd):.2f}",
            f"{median(each.cost for each in crowd):.3f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("")
    for name in GATEWAYS:
        single = zip(found["bare", 1], found[name, 1], strict=True)
        together = list(zip(found["bare", CROWD], found[name, CROWD], strict=True))
        added = median(through.quantile(0.5) - bare.quantile(0.5) for bare, through in single)
        rate = median(through.rate / bare.rate for bare, through in together)
        cost = median(bare.cost / through.cost for bare, through in together)
        lines.append(
            f"{name}: {added:.2f} ms added at p50; {rate:.0%} of the bare throughput, "
            f"{cost:.0%} by processor time."
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """The measurement, or one of its parts."""
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
