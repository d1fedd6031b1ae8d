"""Messaging over NATS: requests, answers, broadcasts, large payloads, and the binary messages of edits."""
