"""Quotas: the bounds of accounts and canvases, the counts of use, and the check before an account gets a canvas."""
