"""The description of a program of the stack."""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Program:
    """A program of the stack.

    - `ready` is called repeatedly until it returns True.
    - `input_path` is the file that the program reads from its standard input. Without it, the input is empty.
    - `before_start` runs before every start, and removes files that a killed run has left.
    - `stop_signal` stops the program. The program is killed if it still runs `stop_timeout` seconds later.
    - `death_signal` is sent to the program when the supervisor itself ends, on Linux only (see `launch.py`).
    - With `not_as_root`, a supervisor that runs as root starts the program as another user.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log_path: Path
    pid_path: Path
    ready: Callable[[], Awaitable[bool]]
    input_path: Path = Path(os.devnull)
    before_start: Callable[[], None] = field(default=lambda: None)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 30.0
    death_signal: signal.Signals = signal.SIGKILL
    not_as_root: bool = False
