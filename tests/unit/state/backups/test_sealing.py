"""The stored form of a backup's objects, and the records in them."""

import base64
import dataclasses
import zlib
from datetime import timedelta
from typing import Any

import pytest

from svgx_state.backups.format.records import read_accounts, read_canvases, read_index
from svgx_state.backups.format.sealing import BackupDamaged, Seal, read_key
from tests.unit.state.backups.make_format import canvas

KEY = bytes(range(32))


@pytest.mark.parametrize("key", [None, KEY])
def test_object_is_read_as_it_was_written(key: bytes | None) -> None:
    """An object that is packed and unpacked has the same content. Proves R-BACKUP-4."""
    for content in (b"", b"x" * 100_000, bytes(range(256))):
        assert Seal(key).unpack("n", Seal(key).pack("n", content), len(content)) == content


def test_encrypted_object_cannot_be_changed_moved_or_read_with_another_key() -> None:
    """Reading notices every change of an encrypted object or of its name, and a wrong key. Proves R-BACKUP-4."""
    seal = Seal(KEY)
    stored = seal.pack("b/canvas-1", b"content")
    assert stored != seal.pack("b/canvas-1", b"content")
    for place in range(len(stored)):
        changed = bytearray(stored)
        changed[place] ^= 1
        with pytest.raises(BackupDamaged):
            seal.unpack("b/canvas-1", bytes(changed), 7)
    for name, other in (("b/canvas-2", seal), ("b/canvas-1", Seal(bytes(32)))):
        with pytest.raises(BackupDamaged):
            other.unpack(name, stored, 7)
    with pytest.raises(BackupDamaged):
        seal.unpack("b/canvas-1", b"", 7)


def test_object_that_inflates_beyond_its_size_is_refused_early() -> None:
    """A small object cannot fill the memory. Proves R-BACKUP-4."""
    bomb = zlib.compress(bytes(100 * 1024 * 1024), 9)
    with pytest.raises(BackupDamaged, match="size"):
        Seal(None).unpack("n", bomb, 10)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", None),
        (" ", None),
        (base64.b64encode(KEY).decode(), KEY),
        (base64.urlsafe_b64encode(bytes([251] * 32)).decode(), bytes([251] * 32)),
        (base64.b64encode(KEY).decode().rstrip("=") + "\n", KEY),
        (KEY.hex(), KEY),
    ],
)
def test_key_is_read_from_base64_and_from_hexadecimal_digits(text: str, key: bytes | None) -> None:
    """The key is the output of `openssl rand -base64 32` or `openssl rand -hex 32`. Proves R-BACKUP-4."""
    assert read_key(text) == key


@pytest.mark.parametrize(
    "text", ["secret", "x" * 64, base64.b64encode(bytes(31)).decode(), "ä" * 44]
)
def test_key_of_another_length_is_refused(text: str) -> None:
    """A password is not a key. Proves R-BACKUP-4."""
    with pytest.raises(ValueError, match="32 bytes"):
        read_key(text)


@pytest.mark.parametrize(
    "content",
    [
        b"\x00",
        b"\x00\x00\x00\x05{}",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x02{}",
        b"\x00\x00\x00\x02[]",
    ],
)
def test_malformed_records_are_damage(content: bytes) -> None:
    """Bytes that are no records raise `BackupDamaged` and no other error. Proves R-BACKUP-4."""
    with pytest.raises(BackupDamaged):
        list(read_canvases("n", content))
    for read in (read_index, read_accounts):
        with pytest.raises(BackupDamaged):
            read("n", content)


def test_digest_depends_on_every_fact_about_a_canvas() -> None:
    """An incremental backup notices each change of a canvas. Proves R-BACKUP-2."""
    facts = canvas("a", "Name")
    others: dict[str, Any] = {
        "id": "b",
        "name": "Other",
        "created_by": "u2",
        "created_at": facts.created_at + timedelta(microseconds=1),
        "deleted_at": facts.created_at,
        "members": {"u1": "owner"},
        "lineage": "restore",
    }
    assert others.keys() == {each.name for each in dataclasses.fields(facts)}
    changed = [dataclasses.replace(facts, **{name: value}) for name, value in others.items()]
    assert len({each.digest() for each in [facts, *changed]}) == len(others) + 1
    reordered = dataclasses.replace(facts, members={"u2": "viewer", "u1": "owner"})
    assert reordered.digest() == facts.digest()
