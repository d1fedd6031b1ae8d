"""WebSockets: protocol limits, admission, connections, canvases, catch-up and drain."""
