"""The caller of a request: access tokens, API keys, share links, revocations, and roles on canvases."""
