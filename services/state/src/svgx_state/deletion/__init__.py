"""The restore and the removal of deleted canvases, and the erasure of users."""
