"""The keys that sign access tokens, and the keys that are derived from the server's secret."""
