"""Passwords: the policy, the hashes, and the limit on failed attempts."""
