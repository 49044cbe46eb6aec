"""The one exception for bad input."""


class UserError(Exception):
    """Bad input: the message names what is wrong, what was expected and what to do."""
