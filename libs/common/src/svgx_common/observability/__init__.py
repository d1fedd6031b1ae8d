"""Parts of logs and metrics that every service has."""
