"""The stage that compares: assessed models in one table, and which of them answers better."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.compute import Compute, ShardOutput, files_of
from pipeline.config import Config
from pipeline.errors import InputError, StageError
from pipeline.evaluation.assess import ANSWERS, DOCUMENTS, Assessment
from pipeline.evaluation.judges import Judge
from pipeline.store import Artifact, Attempt, Made, Store, Work, read_record
from pipeline.user_function import identity_of

COMPARISON, PAGE = "comparison.json", "comparison.html"


class CompareConfig(Config):
    """What the models are compared with."""

    reference: str = "chat"
    """The model that the others are compared with, by its role."""
    judge: str | None = None
    """A function of yours, such as "rules.py:names_the_thing", that gives each answer a number; of two
    answers to a question that with the greater number is the better."""
    shown_answers: int = 4
    """Questions on the page, with every model's answer."""
    seed: int = 0
    """Which examples a bootstrap draws again."""

    def identity(self) -> dict[str, Any]:
        """The function enters the key by its name and its file's content, wherever that lies."""
        values = super().identity()
        if self.judge is not None:
            values["judge"] = identity_of(self.judge)
        return values


class ReferenceMissingError(InputError):
    """The model that the others are to be compared with is not among them."""

    remedy = "Set compare.reference to one of the models that the message names."


class QuestionsDifferError(StageError):
    """Two assessments answered other questions, or scored other text, so they cannot be compared."""

    passes = False
    remedy = "Assess all models with the same settings on the same held-out text and conversations."


class Comparison(Artifact):
    """`comparison.json`, `comparison.html` with everything on it, and `plots/`."""

    stage, role, revision = "compare", "comparison", 3

    def content(self) -> dict[str, Any]:
        """comparison.json. Raises InputError if not made yet."""
        found: dict[str, Any] = json.loads(self.path(COMPARISON).read_bytes())
        return found


@dataclass(frozen=True)
class Assessed:
    """What is compared of one model."""

    role: str
    content: dict[str, Any]
    answers: list[dict[str, Any]]
    documents: dict[str, dict[str, Any]]
    """By id, in one order for all models."""


@dataclass(frozen=True)
class Judging:
    """What one task is given: the answers of one model, and who judges them."""

    assessment: Assessment
    role: str
    judge: Judge


def compare(
    store: Store,
    assessments: Sequence[Assessment],
    judges: Sequence[Judge],
    config: CompareConfig,
    compute: Compute,
) -> Comparison:
    """One table of all models, in this order; judged by each of `judges`, the first of which decides.

    Raises ReferenceMissingError, QuestionsDifferError, and what a judge raises.
    """
    by_role = {role_of(assessment): assessment for assessment in assessments}
    if config.reference not in by_role:
        raise ReferenceMissingError(
            f"compare.reference is {config.reference!r}, and what is compared is {', '.join(by_role)}; "
            f'try "{next(iter(by_role), "chat")}"'
        )
    inputs: dict[str, Artifact | None] = dict(by_role)
    inputs |= {f"judge-{judge.name}": judge.artifact for judge in judges}
    return store.make(
        Comparison,
        config,
        inputs,
        partial(_build, by_role=by_role, judges=judges, config=config, compute=compute),
        content={f"judge.{judge.name}": judge.identity for judge in judges},
        work=partial(_work, assessments, judges),
    )


def role_of(assessment: Assessment) -> str:
    """The role of the model that was assessed."""
    return assessment.role.removeprefix(f"{Assessment.role}-")


def _work(assessments: Sequence[Assessment], judges: Sequence[Judge]) -> Work:
    answers = sum(assessment.counts().get("questions", 0) for assessment in assessments)
    return {"models": len(assessments), "judged": answers * len(judges)}


def _build(
    attempt: Attempt,
    by_role: dict[str, Assessment],
    judges: Sequence[Judge],
    config: CompareConfig,
    compute: Compute,
) -> Made:
    from pipeline.evaluation.compare_report import write_comparison

    assessed = [_assessed(role, assessment) for role, assessment in by_role.items()]
    require_alike(assessed)
    names = {judge.name: judge for judge in judges if assessed[0].answers}
    parts = {
        f"{name}.{role}".replace("/", "-"): Judging(
            Assessment(assessment.storage, assessment.key), role, judge
        )
        for name, judge in names.items()
        for role, assessment in by_role.items()
    }
    records = compute.map_shards(attempt, "judge", parts, judge_answers)
    scores: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    judged = [(name, role) for name in names for role in by_role]
    for (name, role), record in zip(judged, records, strict=True):
        (file,) = files_of([record]).values()
        path = attempt.storage.download(f"{attempt.base}/{file.path}", file.sha256)
        scores[name][role] = json.loads(path.read_bytes())
    pleased = {name: _trained_by(judge, by_role) for name, judge in names.items()}
    meanings = {name: judge.meaning for name, judge in names.items()}
    return write_comparison(attempt, assessed, scores, pleased, meanings, config)


def _trained_by(judge: Judge, by_role: Mapping[str, Assessment]) -> list[str]:
    """The models that a reward model is to judge, and that were trained by its rewards."""
    if judge.artifact is None:
        return []
    found = []
    for role, assessment in by_role.items():
        model = assessment.record.inputs["model"]
        record = read_record(assessment.storage, f"{model.stage}/{model.key}")
        given = record.inputs.values() if record is not None else ()
        if any(each.key == judge.artifact.key for each in given):
            found.append(role)
    return found


def _assessed(role: str, assessment: Assessment) -> Assessed:
    import pyarrow.parquet as pq

    documents = pq.read_table(assessment.path(DOCUMENTS)).to_pylist()
    return Assessed(
        role,
        assessment.content(),
        pq.read_table(assessment.path(ANSWERS)).to_pylist(),
        {row["document"]: row for row in sorted(documents, key=lambda row: str(row["document"]))},
    )


def require_alike(assessed: Sequence[Assessed]) -> None:
    """Raises QuestionsDifferError unless all answered the same questions and scored the same bytes."""
    first = assessed[0]
    for other in assessed[1:]:
        same = [row["id"] for row in first.answers] == [row["id"] for row in other.answers]
        if not same:
            raise QuestionsDifferError(
                f"{other.role} answered {len(other.answers)} questions, {first.role} "
                f"{len(first.answers)}, and they are not the same; assess both with the same settings "
                "and conversations"
            )
        sizes = [{name: row["bytes"] for name, row in each.documents.items()} for each in (first, other)]
        if sizes[0] != sizes[1]:
            raise QuestionsDifferError(
                f"{other.role} scored {sum(sizes[1].values()):,} bytes of {len(sizes[1])} held-out "
                f"documents, {first.role} {sum(sizes[0].values()):,} of {len(sizes[0])}, and they differ; "
                "assess both on the same held-out text"
            )


def judge_answers(part: Judging, output: ShardOutput) -> dict[str, int]:
    """The judge's score of each answer, in their order."""
    import pyarrow.parquet as pq

    rows = pq.read_table(part.assessment.path(ANSWERS)).to_pylist()
    scores = part.judge.score(rows)
    output.path(f"scores/{part.role}.json").write_text(json.dumps(scores))
    return {"answers": len(rows)}
