"""The settings come from the environment, and are checked."""

import pytest

from svgx_common.settings import load
from svgx_state.settings import StateSettings


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", "postgresql://localhost/svgx")


def test_empty_variable_means_the_default_and_unknown_ones_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unknown variables are ignored, and an empty value means the default."""
    monkeypatch.setenv("COMPACT_AFTER_ENTRIES", "")
    monkeypatch.setenv("SOMETHING_ELSE", "1")
    assert load(StateSettings).compact_after_entries == 500


def test_wrong_value_stops_the_start_and_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong value ends the start with status 2 and a line that names the setting."""
    monkeypatch.setenv("WORKER_COUNT", "none")
    with pytest.raises(SystemExit, match="2"):
        load(StateSettings)
    assert capsys.readouterr().err.startswith("svgx: WORKER_COUNT: ")
