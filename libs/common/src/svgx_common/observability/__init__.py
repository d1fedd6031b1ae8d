"""Parts of the logs, metrics and traces of the services, and the memory of processes."""
