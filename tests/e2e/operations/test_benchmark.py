"""The HTTP benchmark runs and prints a table."""

from pathlib import Path

import pytest

from bench.http import __main__ as http


async def test_http_benchmark_compares_the_gateway_with_a_bare_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table has a row for the bare server and for each configuration of the gateway. Proves R-OBS-6."""
    monkeypatch.setattr(http, "ROUNDS", 1)
    monkeypatch.setattr(http, "SECONDS", 0.1)
    table = http.table(await http.measure(tmp_path))
    for name in ("bare", *http.GATEWAYS):
        assert f"| {name} |" in table
