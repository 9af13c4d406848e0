"""What the command line ends on with one line and a non-zero exit code."""


class InputError(ValueError):
    """Bad input, named in one line: the file or key, what was found, and what was expected."""


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or not a number."""
