"""The log lines and metrics of requests and WebSockets."""
