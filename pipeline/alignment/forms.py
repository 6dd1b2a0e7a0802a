"""The usual ways to write preferences down, read as votes, and judged row by row.

- `chosen` and `rejected`, as text with a `prompt`, as messages with one, or as whole conversations whose
  common beginning is the prompt (messages, or text with "Human:" and "Assistant:" turns);
- `answer_a` and `answer_b` with a `vote` (a, b or tie) or with `score_a` and `score_b`;
- `answers`, a list of texts with a list of `scores`, or of {text, score};
- `answer` with a `score` or a `label` (true or false), one row for each answer.

`chosen_ended`, `rejected_ended`, `answer_a_ended`, `answer_b_ended` and `ended` say false of an answer that
was cut off. Each may have `voter` and `seconds`; url and language are kept. The names in `NAMES` are
understood, too.
"""

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.alignment.votes import Answer, LeftOut, Vote
from pipeline.errors import InputError
from pipeline.training.messages import checked
from pipeline.training.user_rows import short

EXAMPLES = (
    '{"prompt": "…", "chosen": "…", "rejected": "…"}, '
    '{"prompt": "…", "answer_a": "…", "answer_b": "…", "vote": "a", "voter": "ana", "seconds": 12} or '
    '{"prompt": "…", "answers": ["…", "…"], "scores": [4, 2]}'
)
NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "instruction"),
    "answer": ("answer", "response", "completion"),
    "answers": ("answers", "responses", "completions"),
    "answer_a": ("answer_a", "response_a", "conversation_a"),
    "answer_b": ("answer_b", "response_b", "conversation_b"),
    "vote": ("vote", "winner", "preference"),
    "score": ("score", "rating", "label", "overall_score"),
    "scores": ("scores", "ratings"),
    "chosen score": ("score_chosen", "chosen_score"),
    "rejected score": ("score_rejected", "rejected_score"),
    "voter": ("voter", "judge", "annotator"),
    "text": ("text", "content", "answer", "response"),
}
CHOICES = {
    **dict.fromkeys(("a", "answer_a", "response_a", "model_a"), 1.0),
    **dict.fromkeys(("b", "answer_b", "response_b", "model_b"), -1.0),
    **dict.fromkeys(("tie", "tie (bothbad)", "both"), 0.0),
}
TURN = re.compile(r"\n\n(Human|Assistant):[ \t]?")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}

Messages = list[dict[str, str]]
Row = Mapping[str, Any]


class PreferenceFormError(InputError):
    """A row of preferences has none of the forms that are understood, or a part of one is missing."""

    remedy = "Write the row like one of the examples in the message."


class VoteError(InputError):
    """A vote, a score or a time in a row of preferences is not what such a thing can be."""

    remedy = "Write votes as a, b or tie, scores as numbers, and times as seconds."


@dataclass(frozen=True)
class Rating:
    """One voter's score of one answer."""

    prompt: str
    answer: Answer
    score: float
    row: int
    voter: str | None = None
    seconds: float | None = None
    url: str = ""
    language: str = ""


def read_votes(rows: Iterable[tuple[int, Row]], source: str) -> tuple[list[Vote], list[LeftOut]]:
    """All votes of a source's rows, and those between two answers that are the same.

    Raises PreferenceFormError, VoteError, and the errors of pipeline.training.messages, at the first row
    that is wrong.
    """
    votes: list[Vote] = []
    ratings: list[Rating] = []
    for number, row in rows:
        where = f"{source}, row {number}"
        found = _read(row, number, where)
        votes += [each for each in found if isinstance(each, Vote)]
        ratings += [each for each in found if isinstance(each, Rating)]
    return without_same([*votes, *votes_of_ratings(ratings)])


def without_same(votes: Iterable[Vote]) -> tuple[list[Vote], list[LeftOut]]:
    """Votes between different answers; and the others, of which nothing can be learned."""
    different: list[Vote] = []
    same: list[LeftOut] = []
    for vote in votes:
        if vote.first.text == vote.second.text:
            same.append(LeftOut(vote, "same-answers", "the two answers are the same text"))
        else:
            different.append(vote)
    return different, same


def votes_of_ratings(ratings: Iterable[Rating]) -> Iterator[Vote]:
    """A vote for every two answers to one prompt that one voter scored; the margin is of the scores."""
    of_prompt: dict[tuple[str, str | None], list[Rating]] = defaultdict(list)
    for rating in ratings:
        of_prompt[rating.prompt, rating.voter].append(rating)
    for own in of_prompt.values():
        for one, other in itertools.combinations(own, 2):
            times = [each.seconds for each in (one, other) if each.seconds is not None]
            yield Vote(
                one.prompt,
                one.answer,
                other.answer,
                one.score - other.score,
                one.row,
                one.voter,
                sum(times) if len(times) == 2 else None,
                rated=True,
                url=one.url,
                language=one.language,
            )


def canonical(messages: Messages) -> str:
    """Messages as a text that is the same for the same messages."""
    return json.dumps(messages, sort_keys=True, ensure_ascii=False)


def _read(row: Row, number: int, where: str) -> list[Vote] | list[Rating]:
    """What a row says, by the form that its columns tell."""
    if "chosen" in row and "rejected" in row:
        return [_chosen(row, number, where)]
    if _named(row, "answer_a") is not None and _named(row, "answer_b") is not None:
        return [_compared(row, number, where)]
    if _named(row, "answers") is not None:
        return _scored_list(row, number, where)
    if _named(row, "answer") is not None and _named(row, "score") is not None:
        prompt, answer = _asked(row, _named(row, "answer"), where, _ended(row, "ended"))
        score = _number(_named(row, "score"), "score", where)
        return [Rating(prompt, answer, score, number, **_voter(row, where), **_known(row))]
    raise PreferenceFormError(
        f"{where}: no preference in {', '.join(map(repr, sorted(row))) or 'nothing'}; "
        f"write rows like {EXAMPLES}"
    )


def _chosen(row: Row, number: int, where: str) -> Vote:
    prompt, chosen, rejected = _two(row, row["chosen"], row["rejected"], where)
    scores = [_named(row, "chosen score"), _named(row, "rejected score")]
    margin = 1.0
    if None not in scores:
        better, worse = (_number(score, "score", where) for score in scores)
        if better < worse:
            raise VoteError(
                f"{where}: the chosen answer has the score {better:g} and the rejected one {worse:g}; "
                "exchange them, or leave the scores out"
            )
        margin = better - worse
    elif row.get("margin") is not None:
        margin = _number(row["margin"], "margin", where)
        if margin < 0:
            raise VoteError(
                f"{where}: the chosen answer has the margin {margin:g}; exchange the answers, or leave it out"
            )
    first = Answer(chosen, _ended(row, "chosen_ended"))
    second = Answer(rejected, _ended(row, "rejected_ended"))
    return Vote(prompt, first, second, margin, number, **_voter(row, where), **_known(row))


def _compared(row: Row, number: int, where: str) -> Vote:
    first, second = _named(row, "answer_a"), _named(row, "answer_b")
    prompt, text_a, text_b = _two(row, first, second, where)
    vote = _named(row, "vote")
    if vote is not None:
        if str(vote).lower() not in CHOICES:
            raise VoteError(f"{where}: the vote is {short(vote)}; write a, b or tie")
        margin = CHOICES[str(vote).lower()]
    elif row.get("score_a") is not None and row.get("score_b") is not None:
        margin = _number(row["score_a"], "score_a", where) - _number(row["score_b"], "score_b", where)
    else:
        raise PreferenceFormError(
            f"{where}: two answers without a vote, found {', '.join(map(repr, sorted(row)))}; "
            f"write rows like {EXAMPLES}"
        )
    one = Answer(text_a, _ended(row, "answer_a_ended"))
    other = Answer(text_b, _ended(row, "answer_b_ended"))
    return Vote(prompt, one, other, margin, number, **_voter(row, where), **_known(row))


def _scored_list(row: Row, number: int, where: str) -> list[Rating]:
    answers, scores = _named(row, "answers"), _named(row, "scores")
    if not isinstance(answers, list) or len(answers) < 2:
        raise PreferenceFormError(
            f"{where}: answers is {short(answers)} instead of a list of two or more; "
            f"write rows like {EXAMPLES}"
        )
    if scores is None and all(isinstance(each, Mapping) for each in answers):
        scores = [_named(each, "score") for each in answers]
        answers = [_named(each, "text") for each in answers]
    if not isinstance(scores, list) or len(scores) != len(answers):
        raise PreferenceFormError(
            f"{where}: {len(answers)} answers, and as scores {short(scores)}; write a score for each answer, "
            f"like {EXAMPLES}"
        )
    voter, known = _voter(row, where), _known(row)
    ratings = []
    for answer, score in zip(answers, scores, strict=True):
        prompt, asked = _asked(row, answer, where, ended=True)
        ratings.append(Rating(prompt, asked, _number(score, "score", where), number, **voter, **known))
    return ratings


def _asked(row: Row, answer: Any, where: str, ended: bool) -> tuple[str, Answer]:
    """The row's prompt, as canonical JSON, and the answer."""
    prompt, text, _ = _two(row, answer, answer, where)
    return prompt, Answer(text, ended)


def _ended(row: Row, name: str) -> bool:
    """Whether an answer has its end; where nothing is said, it has."""
    return row.get(name) is not False


def _two(row: Row, one: Any, other: Any, where: str) -> tuple[str, str, str]:
    """Prompt (canonical JSON) and the texts of two answers, each of them text or messages."""
    given = _named(row, "prompt")
    if given is None:
        first, second = _conversation(one, where), _conversation(other, where)
        if first[:-1] != second[:-1]:
            raise PreferenceFormError(
                f"{where}: the two conversations differ before their last answer; let both begin with the "
                "same turns, or give a prompt"
            )
        prompt = first[:-1]
    else:
        prompt = [{"role": "user", "content": given}] if isinstance(given, str) else given
        if not isinstance(prompt, list):
            raise PreferenceFormError(
                f"{where}: the prompt is {short(given)}; write text, or a list of {{role, content}}"
            )
        first, second = _answered(prompt, one), _answered(prompt, other)
    one_turns = checked({"messages": first}, where)
    other_turns = checked({"messages": second}, where)
    return canonical(one_turns[:-1]), one_turns[-1]["content"], other_turns[-1]["content"]


def _conversation(value: Any, where: str) -> Messages:
    """A whole conversation, as messages or as text with "Human:" and "Assistant:" turns."""
    if isinstance(value, list):
        return value
    if isinstance(value, str) and TURN.match(value):
        _, *parts = TURN.split(value)
        return [
            {"role": SPEAKERS[speaker], "content": text.strip()}
            for speaker, text in zip(parts[::2], parts[1::2], strict=True)
        ]
    raise PreferenceFormError(
        f"{where}: no prompt, and the answer {short(value)} is no whole conversation; "
        f"write rows like {EXAMPLES}"
    )


def _answered(prompt: Messages, answer: Any) -> Messages:
    """The prompt with an answer to it: text, a message, or a conversation that repeats the prompt."""
    if isinstance(answer, list):
        return answer if len(answer) > 1 and answer[: len(prompt)] == prompt else [*prompt, *answer]
    return [*prompt, {"role": "assistant", "content": answer}]


def _voter(row: Row, where: str) -> dict[str, Any]:
    voter, seconds = _named(row, "voter"), row.get("seconds")
    return {
        "voter": None if voter is None else str(voter),
        "seconds": None if seconds is None else _number(seconds, "seconds", where),
    }


def _known(row: Row) -> dict[str, Any]:
    return {name: str(row.get(name) or "") for name in ("url", "language")}


def _named(row: Row, meaning: str) -> Any:
    """The row's value under the first of a meaning's names that it has."""
    return next((row[name] for name in NAMES[meaning] if row.get(name) is not None), None)


def _number(value: Any, name: str, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):
        raise VoteError(f"{where}: {name} is {short(value)}; write a finite number")
    return number
