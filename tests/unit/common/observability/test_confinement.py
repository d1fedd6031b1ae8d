"""The metric and the log show a part of the workers' confinement that the system does not provide. Proves R-SVG-7."""

import sys

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from svgx_common.observability.confinement import show_confinement


def values(*parts: str) -> list[float | None]:
    """Return the metric's values of these parts."""
    name = "svgx_engine_workers_confined"
    return [REGISTRY.get_sample_value(name, {"part": part}) for part in parts]


def test_missing_part_is_logged_once_and_the_metric_follows_the_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One warning names all missing parts. Proves R-SVG-7."""
    monkeypatch.setattr(sys, "platform", "linux")
    parts = {"no_new_privs": True, "landlock": False, "seccomp": False}
    with capture_logs() as lines:
        show_confinement(lambda: parts)
        assert values(*parts) == [1, 0, 0]
        parts["landlock"] = True
        assert values(*parts) == [1, 1, 0]
    (line,) = lines
    assert (line["log_level"], line["missing"]) == ("warning", ["landlock", "seccomp"])


@pytest.mark.parametrize(("platform", "present"), [("linux", True), ("darwin", False)])
def test_nothing_is_logged_when_no_part_is_missing_or_the_system_is_not_linux(
    monkeypatch: pytest.MonkeyPatch, platform: str, present: bool
) -> None:
    """Systems other than Linux have no confinement. Proves R-SVG-7."""
    monkeypatch.setattr(sys, "platform", platform)
    with capture_logs() as lines:
        show_confinement(lambda: {"seccomp": present})
    assert lines == []
    assert values("seccomp") == [present]
