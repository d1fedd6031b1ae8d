"""The exception of this package."""


class StackError(Exception):
    """A failure of the stack to start or to continue. The message is one line with the problem and its remedy."""
