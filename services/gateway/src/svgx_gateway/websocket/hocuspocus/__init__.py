"""Hocuspocus clients: several canvases on one WebSocket, each with its own token, role and connection."""
