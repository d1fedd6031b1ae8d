"""Canvases, members, journal and snapshots in PostgreSQL."""
