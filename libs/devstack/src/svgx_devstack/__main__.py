"""`python -m svgx_devstack`: the stack in the foreground until Ctrl-C.

Reads SVGX_HOME (default `.svgx`) and API_PORT (default 8000). Exit status: 0 after SIGINT, SIGTERM or SIGHUP, 2 when
it cannot start (one line says why), 130 after a second signal, which kills everything at once.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from svgx_devstack import logfile, services, terminal
from svgx_devstack.errors import StackError
from svgx_devstack.stack import DevStack
from svgx_devstack.warnings_shown import Follower

CANNOT_START = 2
KILLED = 130
_LOOK_EVERY = 1.0


def main() -> int:
    """Run until told to stop."""
    try:
        home = Path(os.environ.get("SVGX_HOME") or ".svgx")
        port = _api_port(os.environ.get("API_PORT") or "8000")
        with terminal.own_foreground():
            return asyncio.run(_run(home, port))
    except StackError as error:
        print(f"svgx: {error}", file=sys.stderr, flush=True)
        return CANNOT_START


def _api_port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise StackError(f"API_PORT is {text!r}: set it to a number from 1 to 65535")
    return int(text)


async def _run(home: Path, port: int) -> int:
    stack = DevStack(home, api_port=port, report=terminal.say)
    run = asyncio.create_task(_serve(stack, port))
    stopping = False
    killed = False

    def stop() -> None:
        nonlocal stopping, killed
        if stopping:
            killed = True
            stack.kill()
            return
        stopping = True
        terminal.say("\nstopping (data stays; once more to kill everything at once)")
        run.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        await run
    except asyncio.CancelledError:
        if not stopping:
            raise
    if killed:
        return KILLED
    terminal.say("stopped")
    return 0


async def _serve(stack: DevStack, port: int) -> None:
    followers = [Follower(name, stack.log_path(name)) for name in services.NAMES]
    async with stack:
        url = f"http://localhost:{port}"
        stack.write_dev_env(url)
        terminal.say(terminal.welcome(stack, url))
        _show_warnings(followers)
        terminal.say(f"ready {url}")
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            _show_warnings(followers)
            for process in stack.processes:
                logfile.rotate(process.log_path)


def _show_warnings(followers: list[Follower]) -> None:
    for follower in followers:
        for line in follower.look():
            terminal.say(line)


if __name__ == "__main__":
    sys.exit(main())
