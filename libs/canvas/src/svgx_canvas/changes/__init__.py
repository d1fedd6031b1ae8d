"""Computed edits of a document: changes of elements, their undo, and the replacement of all content."""
