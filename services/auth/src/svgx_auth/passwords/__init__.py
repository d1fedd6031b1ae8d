"""Passwords: the policy, the hashes, the queue of requests that use a password, and the waits after failed attempts."""
