"""The pings of a NATS server, with which it notices a frozen client.

With NATS' defaults (120 s, 2), a frozen replica would get its share of the requests for up to six minutes.
"""

PING_SECONDS = 3
"""Seconds between two pings of the server."""

PING_MAX = 2
"""Maximum number of pings that a client may leave unanswered.

The server ends the connection instead of sending one more ping, at most 9 s after the client froze.
"""
