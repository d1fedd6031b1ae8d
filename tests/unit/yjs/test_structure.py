"""Malformed state vectors are refused."""

import pytest

from svgx_yjs.lib0 import Malformed
from svgx_yjs.structure import read_state_vector


@pytest.mark.parametrize(
    "vector",
    [b"", b"\x01", b"\x01\x05", b"\xff\xff\xff\x7f", b"\x00\x00", b"\x01\x05\xff\xff\xff\xff\x0f"],
)
def test_malformed_state_vector_is_refused(vector: bytes) -> None:
    """Proves R-SYNC-8: pycrdt reserves half a gigabyte of memory for one of these vectors."""
    with pytest.raises(Malformed):
        read_state_vector(vector)
