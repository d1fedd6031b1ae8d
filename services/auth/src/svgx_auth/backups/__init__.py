"""Accounts for backups of the state service."""
