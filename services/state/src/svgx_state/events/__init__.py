"""The delivery of domain events to webhooks."""
