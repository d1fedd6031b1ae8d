"""The README of each service says what can be set, and what holds when it is not."""

import re
from collections.abc import Iterator

import pytest

from svgx_auth.passwords.attempts import ADDRESS, FORGET_AFTER, NAME
from svgx_auth.passwords.policy import EXPECTED
from svgx_auth.settings import AuthSettings
from svgx_collab.settings import CollabSettings
from svgx_common.settings import PostgresSettings, ServiceSettings
from svgx_gateway.settings import GatewaySettings
from svgx_state.settings import StateSettings
from tests.unit.house_rules.sources import ROOT

SERVICES: dict[str, type[ServiceSettings]] = {
    "auth": AuthSettings,
    "collab": CollabSettings,
    "gateway": GatewaySettings,
    "state": StateSettings,
}
SHARED = ServiceSettings.model_fields.keys() | PostgresSettings.model_fields.keys()


def readme(service: str) -> str:
    return (ROOT / f"services/{service}/README.md").read_text(encoding="utf-8")


def defaults(service: str) -> Iterator[tuple[str, str]]:
    """Each variable of the table, with its default as it is written."""
    for variables, values in re.findall(r"^\| (`.+?`) \| (.*?) \|", readme(service), re.MULTILINE):
        names = re.findall(r"`(\w+)`", variables)
        written = values.split(", ")
        yield from zip(names, written * (len(names) // len(written)), strict=False)


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_is_described(service: str) -> None:
    """Proves R-CONFIG-3: by the name of its variable."""
    own = {name.upper() for name in SERVICES[service].model_fields if name not in SHARED}
    assert own - set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", readme(service))) == set()


@pytest.mark.parametrize("service", SERVICES)
def test_what_holds_without_them_is_right(service: str) -> None:
    """Proves R-CONFIG-3: each number of the table is the setting's default."""
    fields = SERVICES[service].model_fields
    compared = 0
    for variable, written in defaults(service):
        field = fields.get(variable.lower())
        if field is not None and re.fullmatch(r"[\d.]+", written):
            assert float(written) == field.default, variable
            compared += 1
    assert compared > 0


def test_how_guesses_are_slowed_is_said_as_it_is() -> None:
    """Proves R-AUTH-20: free failures, longest waits and when they are forgotten, in the README of auth."""
    assert (NAME.free, NAME.longest, ADDRESS.free, ADDRESS.longest) == (5, 300, 50, 60)
    assert FORGET_AFTER == 86400
    said = "five free for a name, then 1 s, 2 s … 5 min; fifty for an address, then up to a minute"
    text = " ".join(readme("auth").split())
    assert f"{said}; forgotten a day after the last" in text


def test_the_words_of_this_place_are_said() -> None:
    """Proves R-AUTH-14: those with which a new password is easy to guess."""
    text = " ".join(readme("auth").split())
    assert ", ".join(f"`{word}`" for word in EXPECTED) in text
