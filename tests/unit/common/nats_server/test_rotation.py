"""The steps in which the keys of NATS are replaced."""

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest

from svgx_common.contract.operation import SERVICES
from svgx_common.nats_server import rotation
from svgx_common.nats_server.commands import print_keys
from svgx_common.nats_server.nkeys import UserKey


def run_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, step: str
) -> str:
    """Run a step with this input, and return the output."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    rotation.rotate([step])
    return capsys.readouterr().out


def new_keys(capsys: pytest.CaptureFixture[str], arguments: Sequence[str] = ()) -> str:
    print_keys(arguments)
    return capsys.readouterr().out


def variables(text: str) -> dict[str, str]:
    """Return the variables of an .env file."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def as_stored(text: str) -> str:
    """Return a Kubernetes secret as the API server of the cluster returns it: with base64, and with metadata."""
    secret: dict[str, Any] = json.loads(text)
    data = {
        key: base64.b64encode(value.encode()).decode()
        for key, value in secret.pop("stringData").items()
    }
    secret["metadata"] |= {"namespace": "svgx", "resourceVersion": "7", "uid": "u"}
    return json.dumps({**secret, "type": "Opaque", "data": data})


def test_three_steps_replace_every_key_of_an_env_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The public key and the seed of a service belong together after each step. Proves R-BUS-15."""
    first = "# a comment\nJWT_SECRET=x=y\n" + new_keys(capsys)
    added = run_step(monkeypatch, capsys, first, "add")
    swapped = run_step(monkeypatch, capsys, added, "swap")
    dropped = run_step(monkeypatch, capsys, swapped, "drop")
    for text in (first, added, swapped, dropped):
        assert text.startswith("# a comment\nJWT_SECRET=x=y\n")
        found = variables(text)
        for service in SERVICES:
            name = service.upper()
            key = UserKey.from_seed(found[f"{name}_NKEY_SEED"])
            assert key.public == found[f"{name}_NKEY"]
    before, between, after = variables(first), variables(swapped), variables(dropped)
    assert before.keys() == after.keys()
    for service in SERVICES:
        name = f"{service.upper()}_NKEY"
        second = f"{service.upper()}_SECOND_NKEY"
        assert before[name] != after[name] == between[name] == variables(added)[second]
        assert between[second] == before[name]


def test_three_steps_replace_every_key_of_a_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The result can be applied: it keeps other entries, but no metadata that the cluster adds. Proves R-BUS-15."""
    first = as_stored(new_keys(capsys, ["--format", "secret"]))
    added = run_step(monkeypatch, capsys, first, "add")
    swapped = run_step(monkeypatch, capsys, added, "swap")
    dropped = json.loads(run_step(monkeypatch, capsys, swapped, "drop"))
    before = json.loads(first)["data"]
    assert dropped["metadata"] == {"name": "svgx-nats", "namespace": "svgx"}
    assert before.keys() == dropped["data"].keys()
    changed = {key for key in before if before[key] != dropped["data"][key]}
    assert changed == {f"{service}-{kind}" for service in SERVICES for kind in ("nkey", "seed")}
    assert len(json.loads(added)["data"]) == len(before) + 2 * len(SERVICES)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("", "swap"),
        ("{", "add"),
        ("{}", "add"),
        ('{"data": {"x": "!"}}', "swap"),
        ("AUTH_NKEY=x", "swap"),
    ],
)
def test_wrong_input_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, step: str
) -> None:
    """Nothing is printed that could be applied by mistake. Proves R-BUS-15."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    with pytest.raises(SystemExit) as ended:
        rotation.rotate([step])
    assert str(ended.value).startswith("svgx: ")
    assert len(str(ended.value).splitlines()) == 1
    assert capsys.readouterr().out == ""


def test_second_keys_are_not_added_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A repeated step must not replace a key that the server already accepts. Proves R-BUS-15."""
    added = run_step(monkeypatch, capsys, new_keys(capsys), "add")
    monkeypatch.setattr("sys.stdin", io.StringIO(added))
    with pytest.raises(SystemExit):
        rotation.rotate(["add"])


def test_env_file_with_empty_second_keys_gets_second_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty variable counts as not set, as in a copy of .env.example. Proves R-BUS-15 and R-CONFIG-1."""
    empty = "".join(f"{service.upper()}_SECOND_NKEY=\n" for service in SERVICES)
    first = new_keys(capsys) + empty
    added = variables(run_step(monkeypatch, capsys, first, "add"))
    for service in SERVICES:
        key = UserKey.from_seed(added[f"{service.upper()}_SECOND_NKEY_SEED"])
        assert key.public == added[f"{service.upper()}_SECOND_NKEY"]
    monkeypatch.setattr("sys.stdin", io.StringIO(first))
    with pytest.raises(SystemExit, match="add the second keys first"):
        rotation.rotate(["swap"])
