"""PostgreSQL: its hosts, the monitor of the server, temporary errors, and migrations."""
