"""The README of each service lists its settings and their defaults."""

import re
from collections.abc import Iterator

import pytest

from svgx_auth.passwords.attempts import ADDRESS, FORGET_AFTER, NAME, SHORTEST_LIMIT
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
    """Yield each variable of the table in the README, with its default as text."""
    for variables, values in re.findall(r"^\| (`.+?`) \| (.*?) \|", readme(service), re.MULTILINE):
        names = re.findall(r"`(\w+)`", variables)
        written = values.split(", ")
        yield from zip(names, written * (len(names) // len(written)), strict=False)


@pytest.mark.parametrize("service", SERVICES)
def test_readme_lists_every_setting_of_its_service(service: str) -> None:
    """The README of a service has the variable of each setting of its own. Proves R-CONFIG-3."""
    own = {name.upper() for name in SERVICES[service].model_fields if name not in SHARED}
    assert own - set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", readme(service))) == set()


@pytest.mark.parametrize("service", SERVICES)
def test_readme_states_the_actual_defaults(service: str) -> None:
    """Each number in the table is the default of its setting. Proves R-CONFIG-3."""
    fields = SERVICES[service].model_fields
    compared = 0
    for variable, written in defaults(service):
        field = fields.get(variable.lower())
        if field is not None and re.fullmatch(r"[\d.]+", written):
            assert float(written) == field.default, variable
            compared += 1
    assert compared > 0


def test_readme_states_the_actual_log_in_waits() -> None:
    """The README of auth states the waits after failed log-ins as `attempts.py` has them. Proves R-AUTH-20."""
    assert (NAME.free, NAME.longest, ADDRESS.free, ADDRESS.longest) == (5, 300, 50, 60)
    assert (SHORTEST_LIMIT, FORGET_AFTER) == (15, 86400)
    text = " ".join(readme("auth").split())
    for sentence in (
        "The fifth failure for an account at one network causes a wait of 1 s,",
        "each further failure doubles the wait, up to 5 min.",
        "but only up to 15 s for a network without a failure;",
        "The fiftieth failure for a network, over all accounts, causes a wait of 1 s,",
        "each further failure doubles the wait, up to a minute.",
        "The failures are forgotten a day after the last one.",
    ):
        assert sentence in text


def test_readme_lists_the_expected_password_words() -> None:
    """The README of auth lists the words that make a new password easy to guess. Proves R-AUTH-14."""
    text = " ".join(readme("auth").split())
    assert ", ".join(f"`{word}`" for word in EXPECTED) in text
