"""What to run, and how to tell that it works."""

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Program:
    """One program of the stack.

    `ready` is asked again and again until it says yes. `before_start` clears what a killed run left behind; it runs
    before every start. `death_signal` is what the program gets when the supervisor itself is killed.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log_path: Path
    pid_path: Path
    ready: Callable[[], Awaitable[bool]]
    before_start: Callable[[], None] = field(default=lambda: None)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 30.0
    death_signal: signal.Signals = signal.SIGKILL
    not_as_root: bool = False
