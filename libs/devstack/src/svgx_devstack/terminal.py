"""What a person sees and types."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from svgx_devstack.stack import DevStack


def say(line: str) -> None:
    """Print a line at once. Nobody reading any more is no reason to stop the stack."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def welcome(stack: DevStack, url: str) -> str:
    """The admin's login and a first canvas, to paste into a shell and into a page."""
    return f"""
  admin login   {stack.admin_username} / {stack.admin_password}
  logs          {stack.home}/logs
  API           {url}/docs

  # sign in and make a canvas
  TOKEN=$(curl -s {url}/auth/login -H 'Content-Type: application/json' \\
    -d '{{"username":"{stack.admin_username}","password":"{stack.admin_password}"}}' \\
    | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')
  curl -s {url}/runtime/canvases/ -H "Authorization: Bearer $TOKEN" \\
    -H 'Content-Type: application/json' -d '{{"name":"First canvas"}}'

  // draw on it with others (npm install yjs y-websocket)
  const doc = new Y.Doc()
  new WebsocketProvider('{url.replace("http", "ws", 1)}/runtime/events', CANVAS_ID, doc,
    {{ params: {{ token: TOKEN }} }})
"""


@contextmanager
def own_foreground() -> Iterator[None]:
    """On a terminal: Ctrl-C reaches this process only, not the `make` above it.

    `make` would report the interruption as an error although everything ended in order. So this process becomes the
    foreground group by itself, and gives the terminal back at the end. A stop by Ctrl-Z is ignored meanwhile, because
    it would stop this group only and leave the terminal to nobody.
    """
    try:
        terminal = sys.stdin.fileno()
        before = os.tcgetpgrp(terminal)
        alone = os.getpgrp() == os.getpid()
    except (OSError, ValueError, AttributeError):
        yield
        return
    if alone or before != os.getpgrp():
        yield
        return
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    signal.signal(
        signal.SIGTTOU, signal.SIG_IGN
    )  # a background group may not change the terminal otherwise
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        try:
            os.tcsetpgrp(terminal, before)
        except OSError:
            pass  # the terminal or the group is gone
