"""The canvas as a Yjs document: shared editing, element tree, order keys, compaction."""
