"""The WebSocket connections below the application: parsing with limits, and encoded frames."""
