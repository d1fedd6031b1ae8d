"""The caller of a request: access tokens, API keys, revocations, and the role on a canvas."""
