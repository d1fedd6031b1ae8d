"""The spans of messages, for tests without a connection to NATS."""

from typing import cast

from nats.aio.client import Client

from svgx_common.messaging.spans import MessageSpans


class Connectionless:
    """A NATS client without a connection."""

    connected_url = None


def message_spans() -> MessageSpans:
    """Return a `MessageSpans` for a client without a connection. Its spans name no server."""
    return MessageSpans(cast(Client, Connectionless()))
