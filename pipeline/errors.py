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
        # An error that a Ray task raised comes in a class that Ray derives from its own.
        if cls.__module__ not in (__name__, "ray.exceptions") and not (
            cls.__doc__ and cls.__dict__.get("remedy")
        ):
            raise TypeError(f"{cls.__name__} needs a docstring (the cause) and a remedy")


class InputError(MoinhoError):
    """The user's input is wrong; nothing was started."""

    exit_code = 2
    passes = False


class UnreadableShardError(Exception):
    """What a shard is made from cannot be read, however often that is tried: the shard is set aside at once.

    The message says where and what was found. A user meets it within a ShardUnreadableError.
    """


class StageError(MoinhoError):
    """A stage could not be finished; whatever it had finished stays in the store."""
