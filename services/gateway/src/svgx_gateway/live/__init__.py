"""WebSocket: protocol, fan-out, catch-up, drain. Nothing here decodes a document."""
