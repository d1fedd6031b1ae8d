"""The state service: canvases with their members, journal and versions; backups, webhooks and stored values."""
