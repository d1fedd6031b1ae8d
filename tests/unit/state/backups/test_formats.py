"""Stored backups of every format can be read. `make_format.py` wrote them."""

import base64
import json
from pathlib import Path

import pytest
from pycrdt import Doc, Map

from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.chain import Chain
from svgx_state.backups.format.manifest import FORMAT
from svgx_state.backups.format.sealing import Seal
from svgx_state.backups.format.target import Target
from tests.unit.state.backups.make_format import INCREMENT, KEY, account, canvas

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("label", ["clear", "encrypted"])
@pytest.mark.parametrize("format_", range(1, FORMAT + 1))
async def test_backup_of_every_format_is_read_completely(format_: int, label: str) -> None:
    """A chain of two backups yields the newer backup's accounts, and its canvases with members and deletion times.

    Proves R-BACKUP-10.
    """
    stored = json.loads((FOLDER / f"format_{format_}.json").read_text())[label]
    target = Target.open("memory://")
    for name, content in stored.items():
        await target.put(name, base64.b64decode(content))
    chain = await Chain.open(
        Archive(target, Seal(KEY if label == "encrypted" else None)), INCREMENT
    )
    drawn, empty = [each async for each in chain.canvases()]
    assert (drawn.facts, drawn.revision) == (canvas("a", "Plan ✏️"), 3)
    doc: Doc[Map[str]] = Doc()
    for update in drawn.updates:
        doc.apply_update(update)
    assert (doc.get("elements", type=Map).to_py() or {}).keys() == {"a", "b", "c"}
    assert (empty.facts.name, empty.updates) == ("Empty", [])
    assert empty.facts.deleted_at is not None
    assert [each async for each in chain.accounts()] == [[account("u1")]]
    assert [each.facts.id async for each in chain.canvases(only="b")] == ["b"]
    assert [each.facts.id async for each in chain.canvases(after="a")] == ["b"]
