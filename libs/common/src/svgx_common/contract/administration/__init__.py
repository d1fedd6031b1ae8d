"""The operations with which admins look after other users' sessions, canvases and connections."""
