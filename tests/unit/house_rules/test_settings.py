"""The settings of each service: the lists in the READMEs, and the refusal of wrong values."""

import re
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import SecretStr

from deploy.build.configuration import SETTINGS as SERVICES
from svgx_auth.passwords.attempts import (
    ACCOUNT_BACKOFF,
    ADDRESS_BACKOFF,
    FORGET_SECONDS,
    NEW_NETWORK_WAIT_SECONDS,
)
from svgx_auth.passwords.policy import EXPECTED_WORDS
from svgx_common.configuration.variables import unknown_variables
from svgx_common.settings import PostgresSettings, ServiceSettings, load
from tests.unit.house_rules.sources import ROOT

SHARED_SETTINGS = ServiceSettings.model_fields.keys() | PostgresSettings.model_fields.keys()


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
    """The README of a service has the variable of each of its settings, also of shared ones. Proves R-CONFIG-3."""
    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", readme(service)))
    assert {name.upper() for name in SERVICES[service].model_fields} - named == set()


@pytest.mark.parametrize("service", SERVICES)
def test_readme_calls_exactly_the_required_settings_required(service: str) -> None:
    """A row says `required` if the service does not start without the setting, and otherwise not. Proves R-CONFIG-3."""
    tables = re.findall(r"^\|(.*)\|(.*)\|(.*)\|$", readme(service), re.MULTILINE)
    called = {
        name
        for names, default, text in ([cell.strip() for cell in row] for row in tables)
        if re.match(r"required\b", default) or re.match(r"required\b", text)
        for name in re.findall(r"`([A-Z]\w+)`", names)
    }
    fields = SERVICES[service].model_fields.items()
    assert called == {name.upper() for name, field in fields if field.is_required()}


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


FREE_TEXTS = {
    "ENVIRONMENT",
    "JWT_SECRET",
    "JWT_OTHER_SECRET",
    "SVGX_ADMIN_USERNAME",
    "SVGX_ADMIN_EMAIL",
    "SVGX_ADMIN_PASSWORD",
    "SVGX_REVISION",
}
"""Settings that accept any text. If the admin is unusable, auth logs a warning, and starts without this admin."""

REQUIRED = {"POSTGRES_URL": "postgresql://db/svgx", "JWT_SECRET": "s" * 32}


def wrong_values() -> Iterator[tuple[str, str, str]]:
    """Yield service, variable and wrong value for each setting. Shared settings come once, with the state service."""
    for service, settings_class in SERVICES.items():
        for name, field in settings_class.model_fields.items():
            if name in SHARED_SETTINGS and service != "state":
                continue
            variable, values = name.upper(), ["hunter2", "\udcff"]
            if {field.annotation, *get_args(field.annotation)} & {int, float}:
                values += ["nan", "inf", "-1", "9" * 40, "1,5"]
            if variable in FREE_TEXTS:
                values = ["\udcff"]
            elif variable == "API_HOST":
                values = ["hunter2:80", "http://hunter2", "\udcff"]
            for value in values:
                yield service, variable, value


@pytest.mark.parametrize(("service", "variable", "value"), list(wrong_values()))
def test_wrong_value_of_any_setting_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    service: str,
    variable: str,
    value: str,
) -> None:
    """One line names the variable, without its value, and the status is 2. Proves R-CONFIG-2."""
    for name, content in {**REQUIRED, variable: value}.items():
        monkeypatch.setenv(name, content)
    with pytest.raises(SystemExit) as ended:
        load(SERVICES[service])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"svgx: {variable}") for line in lines), lines
    assert "hunter2" not in "".join(lines)


@pytest.mark.parametrize("service", SERVICES)
def test_settings_of_other_services_are_no_misspelt_variables(service: str) -> None:
    """All services may share one environment, so a service accepts the settings of the others. Proves R-CONFIG-5.

    When this test fails for a new setting, add the first word of its name to `COMMON_WORDS`, or choose a name that
    differs from every other name by more than one slip (see `variables.py`).
    """
    everything = {
        name.upper(): "value"
        for settings_class in SERVICES.values()
        for name in settings_class.model_fields
    }
    own = {name.upper() for name in SERVICES[service].model_fields}
    assert list(unknown_variables(own, everything)) == []


def test_secret_settings_are_not_shown() -> None:
    """A setting with `secret` or `password` in its name has the type `SecretStr`, which hides its value.

    `PASSWORD_WORKERS` and `PASSWORD_QUEUE` are numbers. URLs with a password keep the type `str`. Proves R-CONFIG-2.
    """
    secrets = re.compile("secret|password(?!_workers|_queue)")
    for settings_class in SERVICES.values():
        for name, field in settings_class.model_fields.items():
            assert not secrets.search(name) or field.annotation is SecretStr, name


def test_readme_states_the_actual_log_in_waits() -> None:
    """The README of auth states the waits after failed log-ins that `attempts.py` defines. Proves R-AUTH-20."""
    assert (
        ACCOUNT_BACKOFF.free,
        ACCOUNT_BACKOFF.longest,
        ADDRESS_BACKOFF.free,
        ADDRESS_BACKOFF.longest,
        ADDRESS_BACKOFF.half_life,
    ) == (5, 300, 50, 60, 3600)
    assert (NEW_NETWORK_WAIT_SECONDS, FORGET_SECONDS) == (15, 86400)
    text = " ".join(readme("auth").split())
    for sentence in (
        "The fifth failure for an account at one network causes a wait of 1 s,",
        "each further failure doubles the wait, up to 5 min.",
        "At a network without a failure of its own, such a wait is at most 15 s.",
        "The fiftieth failure for a network, over all accounts, causes a wait of 1 s,",
        "each further failure doubles the wait, up to a minute.",
        "The network's count halves each hour.",
        "The failures are forgotten a day after the last one.",
    ):
        assert sentence in text


def test_readme_lists_the_expected_password_words() -> None:
    """The README of auth lists the words that make a new password easy to guess. Proves R-AUTH-14."""
    text = " ".join(readme("auth").split())
    assert ", ".join(f"`{word}`" for word in EXPECTED_WORDS) in text
