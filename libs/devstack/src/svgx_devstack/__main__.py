"""Run the stack in the foreground until Ctrl-C: `python -m svgx_devstack`.

The environment variable SVGX_HOME sets the stack's folder (default `.svgx`), and API_PORT the gateway's port (default
8000). The exit status is 0 after SIGINT, SIGTERM or SIGHUP. It is 2 when the stack cannot start, with the reason in one
line on standard error. A second signal kills all processes immediately, and the exit status is 130.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from svgx_devstack import services, terminal
from svgx_devstack.errors import StackError
from svgx_devstack.log_warnings import WarningReader
from svgx_devstack.stack import DevStack

CANNOT_START_STATUS = 2
"""Exit status when the stack cannot start."""

KILLED_STATUS = 130
"""Exit status after a second signal."""

_REPEAT_SECONDS = 0.5
"""Seconds after the first signal in which further signals count as the same one.

`timeout` and service managers send a signal to the whole process group, and `make` passes the signal on once more.
"""

_POLL_SECONDS = 1.0
"""Seconds between two reads of the logs."""


def main() -> int:
    """Run the stack until a signal, and return the exit status."""
    try:
        home = Path(os.environ.get("SVGX_HOME") or ".svgx")
        port = _api_port(os.environ.get("API_PORT") or "8000")
        with terminal.foreground_group():
            return asyncio.run(_run(home, port))
    except StackError as error:
        print(f"svgx: {error}", file=sys.stderr, flush=True)
        return CANNOT_START_STATUS


def _api_port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise StackError(f"API_PORT is {text!r}: set it to a number from 1 to 65535")
    return int(text)


async def _run(home: Path, port: int) -> int:
    stack = DevStack(home, api_port=port, report=terminal.print_line)
    serving = asyncio.create_task(_serve(stack, port))
    stopping_since: float | None = None
    killed = False

    def stop() -> None:
        nonlocal stopping_since, killed
        now = time.monotonic()
        if stopping_since is not None:
            if now - stopping_since > _REPEAT_SECONDS:
                killed = True
                stack.kill()
            return
        stopping_since = now
        serving.cancel()
        terminal.print_line(
            "\nstopping (data is kept; press Ctrl-C again to kill all processes at once)"
        )

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        await serving
    except asyncio.CancelledError:
        if stopping_since is None:
            raise
    if killed:
        return KILLED_STATUS
    terminal.print_line("stopped")
    return 0


async def _serve(stack: DevStack, port: int) -> None:
    readers = [WarningReader(name, stack.log_path(name)) for name in services.NAMES]
    async with stack:
        url = f"http://localhost:{port}"
        stack.write_dev_env(url)
        terminal.print_line(terminal.welcome_text(stack, url))
        _print_warnings(readers)
        terminal.print_line(f"ready {url}")
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            _print_warnings(readers)
            for process in stack.processes:
                process.rotate_log()


def _print_warnings(readers: list[WarningReader]) -> None:
    for reader in readers:
        for line in reader.read():
            terminal.print_line(line)


if __name__ == "__main__":
    sys.exit(main())
