"""Output and input on the user's terminal."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from svgx_devstack.stack import DevStack


def print_line(line: str) -> None:
    """Print a line without buffering. Discard lines for a closed pipe or terminal, so that the stack keeps running."""
    try:
        print(line, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def welcome_text(stack: DevStack, url: str) -> str:
    """Return the text that the stack prints when it is ready.

    It has the admin's name and password, and code that creates and opens a first canvas.
    """
    return f"""
  admin log-in  {stack.admin_username} / {stack.admin_password}
  logs          {stack.home}/logs
  API           {url}/docs

  # log in and create a canvas
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
def foreground_group() -> Iterator[None]:
    """Make this process the terminal's foreground group, so that Ctrl-C does not reach the parent `make`.

    Otherwise `make` would report the interruption as an error, although all processes were stopped cleanly. At the end
    of the block, the parent's group is in the foreground again. Within the block Ctrl-Z is ignored, because it would
    stop this group only and leave the terminal without a foreground process.
    """
    try:
        terminal = sys.stdin.fileno()
        previous_group = os.tcgetpgrp(terminal)
        leads_group = os.getpgrp() == os.getpid()
    except (OSError, ValueError, AttributeError):
        yield
        return
    if leads_group or previous_group != os.getpgrp():
        yield
        return
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    # A background process that changes the terminal is stopped unless it ignores SIGTTOU.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        try:
            os.tcsetpgrp(terminal, previous_group)
        except OSError:
            pass  # the terminal or the group no longer exists
