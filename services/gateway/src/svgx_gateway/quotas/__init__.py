"""Quotas at the gateway: edits and imports beyond a quota are refused."""
