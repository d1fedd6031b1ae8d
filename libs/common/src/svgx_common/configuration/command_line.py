"""The command line of a service. A service takes its settings from the environment, so it has hardly any arguments."""

import argparse
from collections.abc import Callable, Mapping, Sequence

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from svgx_common.config_file import VARIABLE
from svgx_common.configuration.build import build_of

Command = Callable[[Sequence[str]], None]
"""A command of a service. It gets the arguments after its name."""


def handle(
    service: str,
    settings_type: type[BaseSettings],
    arguments: Sequence[str],
    commands: Mapping[str, Command],
) -> bool:
    """Return whether the service is to be started. If the first argument names a command, run it and return False.

    `--version` and `--help` print a text and end the process with status 0. Other arguments end it with status 2 and
    a message.
    """
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
    default = field.default
    if default in ("", None, ()) or isinstance(default, SecretStr):
        return ""
    return f" = {default}"
