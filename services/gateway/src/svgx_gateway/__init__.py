"""The edge: HTTP and WebSocket in, subjects on the bus out."""
