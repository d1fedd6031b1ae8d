"""The commands of the state service."""
