"""The journal: appending and loading, checksums, the quarantine, gaps, retention and the disk space."""

from svgx_state.journal.entries import Journal, OnAppended

__all__ = ["Journal", "OnAppended"]
