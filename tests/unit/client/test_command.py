"""The command line: names of commands, options, and the settings of the environment."""

import sys
from argparse import ArgumentParser
from typing import Any

import pytest

from svgx_client.command import __main__ as command
from svgx_client.command import fields
from svgx_client.command.parser import build_parser, commands
from svgx_client.command.settings import SettingsError, client_of
from svgx_common.contract import OPERATIONS, oidc
from svgx_common.contract.operation import Operation

LOCAL = "http://localhost:8000"
ADMIN = {"SVGX_ADMIN_USERNAME": "admin", "SVGX_ADMIN_PASSWORD": "hunter2"}


@pytest.fixture(scope="module")
def parser() -> ArgumentParser:
    """Return the parser of all commands."""
    return build_parser()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, **environment: str) -> int:
    """Run the command line, and return its exit status. The tests give no address that exists."""
    for name in ("SVGX_URL", "SVGX_TOKEN", "SVGX_API_KEY", "SVGX_USERNAME", "SVGX_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["svgx", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_every_operation_has_its_own_command() -> None:
    """The names are unique without their services, and no command is the beginning of another one.

    Proves R-CONTRACT-9.
    """
    with_http = [operation for operation in OPERATIONS if operation.http is not None]
    browser: list[Operation[Any, Any]] = [oidc.OIDC_LOGIN, oidc.OIDC_CALLBACK]
    names = commands()
    assert len(names) == len(with_http) - len(browser)
    assert {operation.name for operation in browser}.isdisjoint(
        operation.name for operation in names.values()
    )
    for words in names:
        assert not any(words[:length] in names for length in range(1, len(words)))


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_has_the_summary_and_every_field(
    capsys: pytest.CaptureFixture[str], parser: ArgumentParser, words: tuple[str, ...]
) -> None:
    """Passwords and tokens are no arguments, because other users of a machine can see arguments.

    Proves R-CONTRACT-9.
    """
    operation: Operation[Any, Any] = commands()[words]
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([*words, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert " ".join(operation.summary.split()) in " ".join(text.split())
    options, _, _ = text.partition("\n\n")
    positional = fields.positional_fields(operation)
    for name in operation.request.model_fields:
        option = name.upper() if name in positional else f"--{name.replace('_', '-')}"
        is_hidden = name == "content" or fields.is_secret(name)
        assert (option in options.replace("]", " ").split() or f"[{option}" in options) != is_hidden


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["canvas", "create"], "name: Field required"),
        (["canvas", "create", "--name", " "], "name: String should have at least 1 character"),
        (["canvas", "list", "--limit", "x"], "limit: Input should be a valid integer"),
        (["canvas", "get", "a b"], "canvas_id: "),
        (["login", "--username", "ada"], "password: give it in a JSON object"),
        (["import", "c", "--input", "/no/such/file"], "/no/such/file: No such file or directory"),
        (["me"], "SVGX_URL is not set"),
    ],
)
def test_wrong_usage_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """The request is checked before anything is sent, so no URL is necessary. Proves R-CONTRACT-9."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    status = run(monkeypatch, *arguments)
    error = capsys.readouterr().err
    assert status == (1 if "No such file" in message else 2)
    assert error.startswith("svgx: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["canvas", "create", "--nam", "x"],
        ["canvas"],
        ["elements", "change", "c", "--operations", "["],
    ],
)
def test_wrong_arguments_end_with_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert "usage: svgx" in capsys.readouterr().err


def test_password_is_read_from_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command asks for each required password. It then needs the URL, which is missing here."""
    prompts: list[str] = []

    def read_password(prompt: str) -> str:
        prompts.append(prompt)
        return "correct horse battery staple"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(command, "getpass", read_password)
    assert run(monkeypatch, "password", "change") == 2
    assert prompts == ["Old password: ", "New password: "]
    assert "SVGX_URL is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({"SVGX_TOKEN": "t", **ADMIN}, {"Authorization": "Bearer t"}),
        ({"SVGX_API_KEY": "k", **ADMIN}, {"X-API-Key": "k"}),
        ({"SVGX_LINK": "l", **ADMIN}, {"X-Share-Link": "l"}),
        ({"SVGX_TOKEN": ""}, {}),
    ],
)
def test_environment_gives_the_credentials(
    environment: dict[str, str], header: dict[str, str]
) -> None:
    """The development stack's admin is used only without other credentials."""
    client = client_of({"SVGX_URL": LOCAL, **environment})
    assert getattr(client._credentials, "_headers", None) == header
    assert not hasattr(client._credentials, "_login")


@pytest.mark.parametrize(
    ("url", "is_used"),
    [
        (LOCAL, True),
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("https://svgx.example.org", False),
        ("http://localhost.example.org", False),
    ],
)
def test_password_of_the_admin_is_sent_to_this_machine_only(url: str, is_used: bool) -> None:
    assert hasattr(client_of({"SVGX_URL": url, **ADMIN})._credentials, "_login") is is_used


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SVGX_URL": "localhost"},
        {"SVGX_URL": "http://[::1"},
        {"SVGX_URL": LOCAL, "SVGX_TOKEN": "hunter2", "SVGX_API_KEY": "hunter2"},
        {"SVGX_URL": LOCAL, "SVGX_PASSWORD": "hunter2"},
        {"SVGX_URL": "http://ada:hunter2@localhost"},
    ],
)
def test_wrong_environment_is_refused_without_its_secrets(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as refused:
        client_of(environment)
    assert "hunter2" not in str(refused.value)
