"""The number of processors that auth may use. PASSWORD_WORKERS has this number as its default, up to 64."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from svgx_auth import settings
from svgx_auth.passwords import processors


@pytest.fixture
def many_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine have 96 processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(96)), raising=False)


@pytest.mark.usefixtures("many_processors")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 96),
        ({"cpu.max": "max 100000\n"}, 96),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "20000000 100000\n"}, 96),
        ({"cpu.max": ""}, 96),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 96),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
    ],
)
def test_container_limit_is_used_if_the_machine_has_more_processors(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    """The container's limit, rounded up, is used if it is below the machine's 96 processors. Proves R-CONFIG-10."""
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    assert processors.usable(tmp_path) == expected


@pytest.fixture
def reloaded_settings() -> Iterator[None]:
    """Reload the settings after a test, when the patches of later fixtures have ended."""
    yield
    importlib.reload(settings)


@pytest.mark.usefixtures("reloaded_settings", "many_processors")
def test_machine_with_96_processors_starts_64_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default never exceeds the largest permitted number of password workers. Proves R-CONFIG-10."""
    monkeypatch.setattr(processors, "_CGROUP", Path("/nowhere"))
    monkeypatch.setattr(processors, "_quota", lambda _: 1e9)
    assert importlib.reload(settings).AuthSettings.model_fields["password_workers"].default == 64
