"""The environment that the development stack gives to the services."""

from pathlib import Path

import pytest

from svgx_common.configuration.process_environment import PROCESS_ENVIRONMENT
from svgx_devstack.home import Home
from svgx_devstack.services import environment


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.open()
    for server in ("nats", "valkey"):
        home.port(server)
    return home


def test_services_get_the_variables_of_every_process(home: Home) -> None:
    """The development stack runs the services with the variables that the images have. Proves R-SHIP-2."""
    found = environment(home, "collab", 8000, {})
    assert {name: found.get(name) for name in PROCESS_ENVIRONMENT} == PROCESS_ENVIRONMENT


def test_revision_of_the_users_environment_has_precedence(
    monkeypatch: pytest.MonkeyPatch, home: Home
) -> None:
    """Without the variable, the revision is the commit of the clone. Proves R-CONFIG-6."""
    assert len(environment(home, "collab", 8000, {})["SVGX_REVISION"]) in (0, 12)
    monkeypatch.setenv("SVGX_REVISION", "4f1c2d3")
    assert environment(home, "collab", 8000, {})["SVGX_REVISION"] == "4f1c2d3"
