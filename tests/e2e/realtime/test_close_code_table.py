"""The usual Yjs clients from npm behave as the table of close codes in docs/spec.md states."""

import asyncio
import json
from pathlib import Path

from svgx_common.contract.close_codes import Close

ROOT = Path(__file__).parents[3]
CLIENTS = ("y-websocket 3", "y-websocket 2", "hocuspocus 4")
REFUSED_HANDSHAKE = "403"
"""The status of a refused handshake. The script takes this status in place of a close code."""


def documented() -> dict[str, tuple[str, ...]]:
    """Return the clients' documented behaviour after each close code of the table."""
    rows: dict[str, tuple[str, ...]] = {}
    for line in (ROOT / "docs/spec.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith(("| 1", "| 4")):
            codes, condition, _, *outcomes = cells
            for code in codes.split(", "):
                is_refusal = condition.startswith(REFUSED_HANDSHAKE)
                rows[REFUSED_HANDSHAKE if is_refusal else code] = tuple(outcomes)
    del rows["1000"]  # the client itself closes with 1000
    return rows


async def test_usual_clients_behave_after_each_code_as_the_table_states(node: Path) -> None:
    """After every code except 4400 to 4499, all clients reconnect. Proves R-SOCKET-1."""
    expected = documented()
    reconnecting = {outcomes for code, outcomes in expected.items() if not 4400 <= int(code) < 4500}
    assert reconnecting == {("returns",) * len(CLIENTS)}
    assert {int(code) for code in expected} >= {*Close} - {Close.NORMAL}
    process = await asyncio.create_subprocess_exec(
        *(str(node), "close_codes.mjs", *expected),
        cwd=ROOT / "tests/e2e/yjs",
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    results = json.loads(output)
    assert {
        code: tuple(results[client][code] for client in CLIENTS) for code in expected
    } == expected
