"""What can go wrong and be mended by the user. Every other exception is a defect of ours and keeps its traceback.

Modules raise, and only `condense.cli.main` exits. The text of each error is one line that names the mend.
"""


class UserError(Exception):
    """What the user can mend: the command line prints its one line and exits with code 2."""


class InputError(UserError, ValueError):
    """Values, files or images that cannot work."""


class OptionError(InputError):
    """A flag, config key or value that cannot work."""


class MissingFile(UserError, FileNotFoundError):
    """A file or folder that is not there."""


class RunError(UserError, RuntimeError):
    """A run that failed under way; the line says what is left and what to do."""


class Finished(Exception):
    """There is nothing left to do: the result is there."""


class Interrupted(BaseException):
    """The run was asked to stop and has put everything down; `signal` is the number that asked."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number
