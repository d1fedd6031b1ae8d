"""Run the backing servers from wheels: NATS, PostgreSQL and Valkey."""
