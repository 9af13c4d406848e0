"""The one exception for bad input: the command line prints it as one line and exits non-zero."""


class InputError(ValueError):
    """Bad input, named in one line: the file or key, what was found, and what was expected."""
