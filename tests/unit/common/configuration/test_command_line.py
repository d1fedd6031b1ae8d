"""The command line of each service."""

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version

import pytest
from pydantic import Field

from svgx_common.configuration import build, command_line
from svgx_common.settings import ServiceSettings

EXPORTER = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize("service", ["gateway", "auth", "collab", "state"])
def test_version_is_printed_without_settings(service: str) -> None:
    """Proves R-CONFIG-6: the process prints its build, ends with status 0, and starts no server."""
    done = subprocess.run(
        [sys.executable, "-m", f"svgx_{service}", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {build.VARIABLE: "4f1c2d3"},
    )
    assert done.stdout == f"svgx-{service} {version(f'svgx-{service}')} (revision 4f1c2d3)\n"


def test_command_with_a_closed_output_ends_quietly() -> None:
    """Proves R-CONFIG-6: a command prints no traceback when the reader of its output, such as `head`, has ended."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "svgx_state", "doctor"],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (command_line.OUTPUT_CLOSED, "")


def test_interrupted_command_ends_with_status_130() -> None:
    """Proves R-CONFIG-6: Ctrl-C ends a command without a traceback."""

    def interrupt(_: Sequence[str]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        command_line.handle("state", ServiceSettings, ["wait"], {"wait": interrupt})
    assert ended.value.code == command_line.INTERRUPTED


@pytest.mark.parametrize(
    "arguments", [["verify", b"\xff"], ["restore", "latest", "--canvas-id", b"\xfe"]]
)
def test_command_with_an_undecodable_argument_ends_with_status_2(
    arguments: Sequence[str | bytes],
) -> None:
    """Proves R-CONFIG-6: the command prints one line and no traceback. PostgreSQL's driver refuses such a text."""
    done = subprocess.run(
        [sys.executable, "-m", "svgx_state", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "svgx: an argument is not valid UTF-8\n"


def test_broken_connection_of_a_command_is_an_error() -> None:
    """A broken connection to a server raises the same exception as a closed output, and is not hidden."""

    def lose_connection(_: Sequence[str]) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        command_line.handle("state", ServiceSettings, ["lose"], {"lose": lose_connection})


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve"],
        ["--port", "8000"],
        ["--vers"],
        ["-v"],
        ["--version=1"],
        [""],
        ["--", "x"],
        ["calibrat"],
    ],
)
def test_unknown_arguments_end_with_status_2(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str]
) -> None:
    """Proves R-CONFIG-6: the process prints an error message, and runs no command."""
    with pytest.raises(SystemExit) as ended:
        command_line.handle("state", ServiceSettings, arguments, {"calibrate": _refuse})
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_help_before_unknown_arguments_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Proves R-CONFIG-6: `--help` has precedence over the arguments after it, as in other programs."""
    arguments = ["--help", "x", "--bad"]
    with pytest.raises(SystemExit) as ended:
        command_line.handle("state", ServiceSettings, arguments, {"calibrate": _refuse})
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: ")
    assert printed.err == ""


def test_help_lists_commands_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """Proves R-CONFIG-6: the help has each variable with its default."""
    with pytest.raises(SystemExit) as ended:
        command_line.handle("state", ServiceSettings, ["-h"], {"calibrate": _refuse})
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for line in ("  calibrate", "  API_PORT = 8000", "  NATS_URL = nats://localhost:4222"):
        assert line in text.splitlines()


def test_help_shows_a_default_that_is_a_mapping_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Proves R-CONFIG-6: the help shows such a default as its variable is written."""

    class Settings(ServiceSettings):
        state_types: dict[str, float] = Field(default_factory=lambda: {"general": 1.5})

    with pytest.raises(SystemExit):
        command_line.handle("state", Settings, ["--help"], {})
    assert '  STATE_TYPES = {"general":1.5}' in capsys.readouterr().out.splitlines()


def test_command_gets_its_arguments() -> None:
    """Proves R-CONFIG-6: a command runs in place of the service."""
    received: list[Sequence[str]] = []
    arguments = ["calibrate", "--lanes", "2"]
    started = command_line.handle(
        "state", ServiceSettings, arguments, {"calibrate": received.append}
    )
    assert (started, received) == (False, [["--lanes", "2"]])
    assert command_line.handle("state", ServiceSettings, [], {})


def _refuse(_: Sequence[str]) -> None:
    pytest.fail("the command must not run")


@pytest.mark.parametrize(
    ("service", "environment", "line"),
    [
        ("collab", {"REDIS_URL": "garbage"}, "svgx: REDIS_URL: "),
        ("gateway", {"REDIS_ULR": "redis://redis"}, "svgx: REDIS_ULR: unknown variable; did you"),
        ("collab", {"OTEL_ATTRIBUTE_COUNT_LIMIT": "x", **EXPORTER}, "svgx: OTEL_*: "),
        ("collab", {"API_HOST": "host.invalid"}, "svgx: API_HOST: cannot listen on host.invalid:"),
    ],
)
def test_wrong_setting_ends_the_process_with_one_line(
    service: str, environment: dict[str, str], line: str
) -> None:
    """Proves R-CONFIG-2: the process of a service ends with status 2 and no traceback."""
    inherited = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    done = subprocess.run(
        [sys.executable, "-m", f"svgx_{service}"],
        env={**inherited, "API_PORT": "0", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (printed,) = done.stderr.splitlines()
    assert (done.returncode, printed.startswith(line)) == (2, True), printed
