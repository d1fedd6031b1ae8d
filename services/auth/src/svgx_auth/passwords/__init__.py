"""Passwords: the policy, the hashes, the queue for work on passwords, and the waits after failed attempts."""
