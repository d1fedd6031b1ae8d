"""Settings come from the environment and are checked."""

import pytest

from svgx_common.settings import load
from svgx_state.settings import StateSettings


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", "postgresql://localhost/svgx")


def test_other_variables_are_ignored_and_empty_ones_are_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty value in a manifest means that the default holds."""
    monkeypatch.setenv("COMPACT_AFTER_ENTRIES", "")
    monkeypatch.setenv("SOMETHING_ELSE", "1")
    assert load(StateSettings).compact_after_entries == 500


def test_a_wrong_value_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The start ends with one line and status 2."""
    monkeypatch.setenv("WORKER_COUNT", "none")
    with pytest.raises(SystemExit, match="2"):
        load(StateSettings)
    assert capsys.readouterr().err.startswith("svgx: WORKER_COUNT: ")
