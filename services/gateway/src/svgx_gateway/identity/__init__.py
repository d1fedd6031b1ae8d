"""The caller of a request: access tokens, API keys, revocations, and roles on canvases."""
