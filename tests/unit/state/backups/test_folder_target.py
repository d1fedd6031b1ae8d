"""A folder as the target of backups."""

import os
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


async def test_folders_with_names_that_no_backup_has_are_left_out(tmp_path: Path) -> None:
    """A foreign folder, file or link at the target does not prevent the list of the backups. Proves R-BACKUP-8."""
    target = Target.open(f"file://{tmp_path}")
    await target.put("20260101T000000Z-1f0c9d5e/manifest.json", b"{}")
    for name in (b"lost+found", b"a\nb", b"\xff"):
        (tmp_path / os.fsdecode(name)).mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    assert await target.folders() == ["20260101T000000Z-1f0c9d5e"]


async def test_target_without_a_folder_has_no_backups(tmp_path: Path) -> None:
    """The list of the backups is empty while the target's folder is missing. Proves R-BACKUP-8."""
    target = Target.open(f"file://{tmp_path}/later")
    (tmp_path / "later").rmdir()
    assert await target.folders() == []
