"""The memory that a gateway uses for its clients: outgoing bytes and request bodies."""
