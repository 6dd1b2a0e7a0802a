"""The errors a user can meet. Each says where, what was found and what to do, and carries its exit code."""

from typing import ClassVar


class MoinhoError(Exception):
    """A fault that is told in one message, without a traceback."""

    exit_code: ClassVar[int] = 1


class InputError(MoinhoError):
    """The user's input is wrong; nothing was started."""

    exit_code = 2


class StageError(MoinhoError):
    """A stage could not be finished; whatever it had finished stays in the store."""
