"""The benchmarks run."""

from pathlib import Path

import pytest

from bench.http import __main__ as http


async def test_the_gateway_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-OBS-6: with the gateway as it is, or nobody notices when a benchmark no longer starts."""
    monkeypatch.setattr(http, "ROUNDS", 1)
    monkeypatch.setattr(http, "SECONDS", 0.1)
    table = http.table(await http.measure(tmp_path))
    for name in ("bare", *http.GATEWAYS):
        assert f"| {name} |" in table
