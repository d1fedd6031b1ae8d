"""Observe the elements that the edits of a document change, and describe them as JSON."""
