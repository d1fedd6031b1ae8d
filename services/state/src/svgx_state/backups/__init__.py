"""Backups of canvases and users as objects at a URL, and their restores."""
