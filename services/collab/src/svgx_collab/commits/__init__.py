"""Commits of journal entries: those of this replica, and those of other writers on its canvases."""
