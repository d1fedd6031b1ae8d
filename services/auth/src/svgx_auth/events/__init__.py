"""The events of accounts."""
