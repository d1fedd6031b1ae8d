"""Parts of the logs, metrics and traces of the services, and the garbage collection of quiet processes."""
