"""Who says which answer is better: a function of the user's, or a reward model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.store import Artifact
from pipeline.user_function import FunctionProcess, UserFunction, Value, load_function

Row = Mapping[str, Any]
"""prompt (messages up to the answer), answer, ended, tokens; and what else is known of the question: id,
language, expected."""

ANSWERS_AT_ONCE = 64
GIVEN = ("prompt", "answer", "ended", "tokens", "id", "language", "expected")


@dataclass(frozen=True)
class Judge:
    """Gives every answer a score; of two answers to a question that with the higher score is the better."""

    name: str
    """As the pages call it."""
    score: Callable[[Sequence[Row]], Sequence[float]]
    """Sent to Ray tasks, so it must be picklable. A `Value` tells the parts of a score, too."""
    identity: str
    """What enters the key, such as the SHA-256 of a function's file."""
    meaning: str = ""
    """What the score is, in a sentence for the page."""
    artifact: Artifact | None = None
    """The reward model, where it is one."""


@dataclass(frozen=True)
class FunctionScores:
    """What a function of the user's says of answers, called in a process of its own."""

    function: UserFunction
    timeout_seconds: float
    """For 64 answers."""

    def __call__(self, rows: Sequence[Row]) -> list[Value]:
        """Raises the errors of `FunctionProcess`."""
        with FunctionProcess(self.function, self.timeout_seconds) as process:
            return [
                score
                for first in range(0, len(rows), ANSWERS_AT_ONCE)
                for score in process(rows[first : first + ANSWERS_AT_ONCE])
            ]


def function_judge(reference: str, field: str, timeout_seconds: float = 60.0) -> Judge:
    """The judge that `field` of a configuration names as `rules.py:names_the_thing`.

    Raises UserFunctionError.
    """
    function = load_function(reference, field, GIVEN)
    scores = FunctionScores(function, timeout_seconds)
    return Judge(function.name, scores, function.sha256, function.meaning)
