"""The Yjs document of a canvas: shared editing, element tree, order keys, compaction."""
