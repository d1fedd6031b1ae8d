"""The memory of a gateway for its clients: outgoing bytes and request bodies."""
