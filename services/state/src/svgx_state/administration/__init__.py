"""The lists for admins: the canvases of a user, and the largest canvases."""
