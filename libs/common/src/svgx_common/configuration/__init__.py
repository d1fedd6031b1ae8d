"""The configuration of a service process: checks of its URLs and environment variables, its command line, its build."""
