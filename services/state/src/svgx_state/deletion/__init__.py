"""Deleted canvases: restore, and the removal of all their rows."""
