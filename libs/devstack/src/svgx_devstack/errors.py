"""The exception of this package."""


class StackError(Exception):
    """The stack cannot start or cannot continue. The message is one line with the problem and its remedy."""
