"""The errors a user can meet. Each says where, what was found and what to do, and carries its exit code.

docs/errors.md is made of these classes: the docstring is the cause, `remedy` what to do about it.
"""

from typing import Any, ClassVar


class MoinhoError(Exception):
    """A fault that is told in one message, without a traceback."""

    exit_code: ClassVar[int] = 1
    passes: ClassVar[bool] = True
    """The same command may succeed another time; else it fails until what it is given is changed."""
    remedy: ClassVar[str]
    """What a user can do, in a sentence or two. The message itself has the names and numbers."""

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if cls.__module__ != __name__ and not (cls.__doc__ and cls.__dict__.get("remedy")):
            raise TypeError(f"{cls.__name__} needs a docstring (the cause) and a remedy")


class InputError(MoinhoError):
    """The user's input is wrong; nothing was started."""

    exit_code = 2
    passes = False


class StageError(MoinhoError):
    """A stage could not be finished; whatever it had finished stays in the store."""
