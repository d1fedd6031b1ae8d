"""The command line of a service: `--version`, `--help` and commands. The settings come from the environment."""

import argparse
import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import to_json
from pydantic_settings import BaseSettings

from svgx_common.config_file import VARIABLE
from svgx_common.configuration.build import build_of
from svgx_common.contract.fields.surrogates import has_surrogate

Command = Callable[[Sequence[str]], None]
"""A command of a service. It gets the arguments after its name."""

OUTPUT_CLOSED = 141
"""The exit status when the program that reads the output has ended. Shells report this status for SIGPIPE."""

INTERRUPTED = 130
"""The exit status after Ctrl-C. Shells report this status for SIGINT."""

WRONG_ARGUMENT = 2
"""The exit status for a wrong argument, as `argparse` uses it."""


def handle(
    service: str,
    settings_type: type[BaseSettings],
    arguments: Sequence[str],
    commands: Mapping[str, Command],
) -> bool:
    """Return whether the service is to be started. If the first argument names a command, run it and return False.

    `--version` and `--help` print a text and end the process with status 0. Other arguments end the process with status
    2 and a message, and so does a byte that is no UTF-8 in an argument of a command. When the program that reads the
    output ends early, as `head` does, the process ends with `OUTPUT_CLOSED` and without a traceback. After Ctrl-C, it
    ends with `INTERRUPTED` and without a traceback.
    """
    try:
        with _ending_at_closed_output():
            return _handle(service, settings_type, arguments, commands)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _handle(
    service: str,
    settings_type: type[BaseSettings],
    arguments: Sequence[str],
    commands: Mapping[str, Command],
) -> bool:
    if any(map(has_surrogate, arguments)):
        print("svgx: an argument is not valid UTF-8", file=sys.stderr)
        raise SystemExit(WRONG_ARGUMENT)
    if arguments and arguments[0] in commands:
        commands[arguments[0]](arguments[1:])
        return False
    parser = argparse.ArgumentParser(
        f"python -m svgx_{service}",
        description=f"Run one replica of the {service} service, with its settings from the environment.",
        epilog=_settings_text(settings_type, commands),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = f"svgx-{service} {build_of(service)}"
    parser.add_argument("--version", action="version", version=version)
    parser.parse_args(arguments)
    return True


@contextlib.contextmanager
def _ending_at_closed_output() -> Iterator[None]:
    """End the process without a traceback when the block writes to a closed pipe."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
        if not closed:
            raise  # the broken pipe is a connection to a server
        null_device = os.open(os.devnull, os.O_WRONLY)
        for stream in closed:
            os.dup2(null_device, stream.fileno())  # Python writes buffered output when it ends
        raise SystemExit(OUTPUT_CLOSED) from None


def _is_closed(stream: TextIO) -> bool:
    """Return whether nothing reads the stream any more."""
    poll = select.poll()
    poll.register(stream, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _settings_text(settings_type: type[BaseSettings], commands: Mapping[str, Command]) -> str:
    """Return the commands, and the variables of all settings with their defaults."""
    lines = []
    if commands:
        lines += ["commands (each has --help):", *(f"  {name}" for name in commands), ""]
    lines.append(f"environment variables ({VARIABLE} is the path of a configuration file):")
    for name, field in sorted(settings_type.model_fields.items()):
        lines.append(f"  {name.upper()}{_default_text(field)}")
    return "\n".join(lines)


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return " (required)"
    default = field.get_default(call_default_factory=True)
    if default in ("", None, ()) or isinstance(default, SecretStr):
        return ""
    if isinstance(default, Mapping):
        return f" = {to_json(default).decode()}"  # the form in which the variable is written
    return f" = {default}"
