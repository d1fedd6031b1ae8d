"""JSON clients: a WebSocket with JSON events, for programs that have no Yjs document."""
