"""The auth service: accounts, passwords, sessions, tokens and API keys."""
