"""PostgreSQL: its hosts, the monitor of the server, errors that pass by themselves, and migrations."""
