"""The pings of a NATS server, with which it notices a frozen client.

With NATS' defaults (120 s, 2), a frozen replica would get its share of the requests for up to six minutes.
"""

PING_SECONDS = 3
"""Seconds between two pings of the server."""

PING_MAX = 2
"""The most unanswered pings of a client. The server then ends the connection, after 9 s at most."""
