"""Quotas at the gateway: edits and imports beyond a bound are refused before they are accepted."""
