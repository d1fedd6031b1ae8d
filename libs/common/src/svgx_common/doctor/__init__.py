"""The command `doctor` of each service: checks of the settings and of every server that the service needs."""
