"""The gateway: HTTP and WebSocket for clients, NATS requests to the services."""
