"""Checks of settings: the URLs of servers, misspelt environment variables, and the command line."""
