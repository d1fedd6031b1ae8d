"""The operations with which admins manage sessions, canvases and connections of all users, and drain replicas."""
