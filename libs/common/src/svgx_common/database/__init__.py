"""The parts of `postgres`: errors that pass by themselves, the hosts of a URL, and the check of the server."""
