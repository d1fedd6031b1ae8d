"""Fixtures for tests of the charts: built charts, and both versions of Helm."""

import pytest

from deploy.build import tools
from deploy.build.helm import Helm, copy_charts

collect_ignore = ["cluster", "network", "traces"]
"""Folders of tests that need programs built with Go. Only the Makefile's targets `*-check` run these tests."""


@pytest.fixture(scope="session")
def helms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Helm]:
    """Build the charts, and return both versions of Helm by name."""
    if not tools.STAMP.exists():
        pytest.fail("Helm is not installed: `make tools` installs it")
    charts = copy_charts(tmp_path_factory.mktemp("charts"))
    return {name: Helm(name, charts) for name in ("helm3", "helm4")}


@pytest.fixture(params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest, helms: dict[str, Helm]) -> Helm:
    """Return Helm 3 or Helm 4. Each test with this fixture runs once with each version."""
    return helms[request.param]
