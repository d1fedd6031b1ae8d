"""The domain events of accounts, and their delivery to NATS and to the state service."""
