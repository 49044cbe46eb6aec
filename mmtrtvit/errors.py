"""The one exception for bad input."""


class UserError(ValueError):
    """Bad input: the message names what is wrong, what was expected and what to do."""
