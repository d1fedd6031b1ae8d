"""The folder of a stack."""

from pathlib import Path

import pytest

from svgx_devstack import StackError
from svgx_devstack.home import Home


@pytest.mark.parametrize("name", ["two\nlines", "escape\x1b", "not UTF-8 \udce9"])
def test_folder_with_an_unprintable_name_is_refused(tmp_path: Path, name: str) -> None:
    """The message is one line without the character itself, and the folder is not created."""
    with pytest.raises(StackError) as refused:
        Home(tmp_path / name).open()
    assert str(refused.value) == (
        f"SVGX_HOME is {str(tmp_path / name)!a}: "
        "set it to a folder without control characters and with a name in UTF-8"
    )
    assert list(tmp_path.iterdir()) == []
