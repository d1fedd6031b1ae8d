"""The sessions of clients, and the readers of their messages."""
