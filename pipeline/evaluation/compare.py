"""The stage that compares: assessed models in one table, and which of them answers better."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.errors import InputError, StageError
from pipeline.evaluation.assess import ANSWERS, DOCUMENTS, Assessment
from pipeline.evaluation.judges import Judge
from pipeline.shards import ShardOutput, files_of
from pipeline.store import Artifact, Attempt, Made, Record, Store, Work, read_record
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

    stage, role, revision = "compare", "comparison", 6

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
class Judgement:
    """What one judge said of all models' answers, and what is known of the judge."""

    scores: Mapping[str, Sequence[float]]
    """Role → score of each answer."""
    parts: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    """Part of the score → role → that part for each answer; empty where the judge tells none."""
    meaning: str = ""
    """What a score is, in a sentence."""
    pleased: Sequence[str] = ()
    """Models that were trained by this judge's scores."""
    labelled: Sequence[str] = ()
    """Models that were trained on pairs that this judge labelled, or by a reward model of such."""


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
    told: dict[str, dict[str, Any]] = {name: {} for name in names}
    judged = [(name, role) for name in names for role in by_role]
    for (name, role), record in zip(judged, records, strict=True):
        (file,) = files_of([record]).values()
        path = attempt.storage.download(f"{attempt.base}/{file.path}", file.sha256)
        told[name][role] = json.loads(path.read_bytes())
    judgements = {name: _judgement(judge, told[name], by_role) for name, judge in names.items()}
    return write_comparison(attempt, assessed, judgements, config)


def _judgement(judge: Judge, told: Mapping[str, Any], by_role: Mapping[str, Assessment]) -> Judgement:
    """`told`: role → scores, and their parts."""
    learned_from = {role: list(_learned_from(assessment)) for role, assessment in by_role.items()}
    own = judge.artifact.key if judge.artifact is not None else None
    parts = dict.fromkeys(part for each in told.values() for part in each["parts"])
    return Judgement(
        scores={role: each["scores"] for role, each in told.items()},
        parts={
            part: {role: each["parts"].get(part, [0.0] * len(each["scores"])) for role, each in told.items()}
            for part in parts
        },
        meaning=judge.meaning,
        pleased=[role for role, records in learned_from.items() if any(each.key == own for each in records)],
        labelled=[
            role
            for role, records in learned_from.items()
            if any(judge.identity in each.content.values() for each in records)
        ],
    )


def _learned_from(assessment: Assessment) -> Iterator[Record]:
    """What the assessed model's alignment was given beside the model: a reward model, preferences, and
    what those were made from."""
    waiting = [assessment.record.inputs["model"]]
    while waiting:
        given = waiting.pop()
        record = read_record(assessment.storage, f"{given.stage}/{given.key}")
        if record is not None:
            yield record
            waiting += [each for name, each in record.inputs.items() if name in ("reward", "preferences")]


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
    told = [getattr(score, "parts", {}) for score in scores]
    names = dict.fromkeys(name for parts in told for name in parts)
    by_part = {name: [parts.get(name, 0.0) for parts in told] for name in names}
    output.path(f"scores/{part.role}.json").write_text(json.dumps({"scores": scores, "parts": by_part}))
    return {"answers": len(rows)}
