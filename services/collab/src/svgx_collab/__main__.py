"""`python -m svgx_collab`."""

import os
import resource
import sys

from svgx_collab.app import build
from svgx_collab.settings import CollabSettings
from svgx_common.runtime import run

STACK = 1024 * 1024 * 1024
"""Bytes of stack. Only what is used costs memory. Decoding an edit and deleting what is nested recurse inside of
pycrdt: with the usual 8 MiB an edit of 200 KB, nested 100,000 deep, would end the process."""


def _with_stack() -> None:
    """Start again with `STACK` bytes of stack, or as many as the system allows: a limit counts from the start on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = STACK if hard == resource.RLIM_INFINITY else min(STACK, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
    os.execv(sys.executable, [sys.executable, "-m", "svgx_collab"])  # noqa: S606  # this program


if __name__ == "__main__":
    _with_stack()
    run("collab", CollabSettings, build)
