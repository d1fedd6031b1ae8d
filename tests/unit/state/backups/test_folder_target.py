"""A folder as the target of backups."""

from pathlib import Path

from svgx_state.backups.format.target import Target


async def test_folder_with_unfinished_files_of_a_killed_replica_is_removed(tmp_path: Path) -> None:
    """A deleted backup leaves no file, also when a replica was killed while it wrote an object. Proves R-BACKUP-5."""
    target = Target.open(f"file://{tmp_path}")
    await target.put("backup/00000001", b"content")
    # The library writes an object to a file with such a name, and renames the file at the end.
    for name in ("00000002#1", "00000002#12"):
        (tmp_path / "backup" / name).write_bytes(b"cont")
    names = await target.names("backup")
    assert names == ["backup/00000001"], "the library does not list unfinished files"
    await target.delete(names)
    await target.remove_folder("backup")
    assert await target.folders() == []


async def test_folder_with_an_object_is_not_removed(tmp_path: Path) -> None:
    """The removal of a folder deletes no object. Proves R-BACKUP-5."""
    target = Target.open(f"file://{tmp_path}")
    await target.put("backup/00000001", b"content")
    await target.remove_folder("backup")
    assert await target.get("backup/00000001") == b"content"
