"""Quotas: the bounds of accounts and canvases, the counts of their use, and the refusal of further canvases."""
