"""The HTTP server of every service: health, metrics, and limits on request headers."""
