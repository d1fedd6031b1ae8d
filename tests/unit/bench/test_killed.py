"""The figures of lost edits after all processes were killed."""

from bench.collab.measures.killed import losses


def test_missing_element_is_not_counted_as_a_lost_edit() -> None:
    """A writer without an element has lost all its edits. The element itself does not count as another lost edit."""
    figures = losses(
        stamps=[[1_000_000, 2_000_000], [3_000_000, 4_000_000, 5_000_000], []],
        saved=[0, 2, 0],
        last=[-1, 1, -1],
        killed_at=6_000_000,
    )
    assert figures == {"lost_saved": 1, "lost": 4, "lost_ms": 5.0, "written": 5, "saved": 2}
