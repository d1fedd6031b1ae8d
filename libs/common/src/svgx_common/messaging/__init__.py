"""Messaging over NATS: requests, replies, broadcasts, large payloads and the edit path's messages."""
