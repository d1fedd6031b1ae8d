"""Canvases, members, the journal and snapshots in PostgreSQL."""
