"""The stage that assesses one model: what it can do, what it prefers, what it knows by heart, on one page.

It is run for each model of a flow with the same settings, so that the figures stand side by side under the
same names; `compare` puts them into one table.
"""

import hashlib
import json
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.evaluation.bias import LANGUAGES, PairLanguage
from pipeline.evaluation.evaluate import Scores
from pipeline.evaluation.harness.settings import HarnessConfig
from pipeline.evaluation.instructions.settings import InstructionsConfig
from pipeline.evaluation.tasks.settings import TasksConfig
from pipeline.models import cost
from pipeline.models.families import shape_of
from pipeline.models.model import Model
from pipeline.store import Artifact, Attempt, Made, Store, Work, sha256_of
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from pipeline.evaluation.tasks.prompts import PromptForm

ASSESSMENT, REPORT, ANSWERS, DOCUMENTS = (
    "assessment.json",
    "report.html",
    "answers.parquet",
    "documents.parquet",
)
CONTINUING = ("pretrain", "start")
"""Stages whose models go on with a text; those of all others answer in turns."""
HARNESS_FILES = ("folder", "assin2", "faquad", "enem")
"""Settings that name files or folders."""
ANSWERED_SHARE = 0.5
"""Of an answer's limit that an answer has, as a plan reckons."""
TASK_ANSWER_TOKENS = 25.0
KEY_TOKENS = 8
"""By which a stretch is found in the training text."""
TOGETHER = 16.0
"""Answers that are written at the same time, on average: of 32, those that have not ended yet."""
PAIR_TOKENS = 14_000.0
"""Of all sentences of all pairs, as a plan reckons."""


class AssessConfig(Config):
    """How much is asked of each model."""

    questions: int = Field(default=300, ge=0)
    """Held-out questions that are answered, and that judges compare."""
    max_answer_tokens: int = Field(default=128, ge=1)
    """An answer must have ended by then, in tokens."""
    shown_answers: int = Field(default=6, ge=0)
    """Answers on the page."""
    timed_questions: int = Field(default=8, ge=1)
    """Questions that are answered one at a time for latency."""
    bias_languages: tuple[PairLanguage, ...] = LANGUAGES
    """Languages whose minimal pairs are scored."""
    stretches: int = Field(default=200, ge=0)
    """Stretches of training text, and as many of held-out text, that the model is to go on with."""
    prefix_tokens: int = Field(default=32, ge=1)
    """Of a stretch, what the model is given, in tokens."""
    continued_tokens: int = Field(default=32, ge=1)
    """Of a stretch, what the model has to give back, in tokens."""
    tasks: TasksConfig = TasksConfig()
    """Small sets of questions with known answers."""
    instructions: InstructionsConfig = InstructionsConfig()
    """Prompts whose instructions a program checks."""
    harness: HarnessConfig = HarnessConfig()
    """Tasks of lm-evaluation-harness; none, unless they are named."""
    seed: int = 0
    """Which questions and stretches are drawn, and which examples a bootstrap draws again."""

    @model_validator(mode="after")
    def stretches_can_be_told_apart(self) -> Self:
        length = self.prefix_tokens + self.continued_tokens
        if length < KEY_TOKENS:
            raise ValueError(
                f"prefix_tokens and continued_tokens are {length} tokens together, too few to find a stretch "
                f"by; set {KEY_TOKENS} or more"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Where the harness's files lie is left out: their content is in the key by itself."""
        found = super().identity()
        if "harness" in found:
            settings: dict[str, Any] = found["harness"]
            found["harness"] = {name: value for name, value in settings.items() if name not in HARNESS_FILES}
        return found


class Assessment(Artifact):
    """`assessment.json`, `report.html` with everything on it, `plots/`; `answers.parquet` with the answers
    that judges compare, `documents.parquet` with the held-out documents' bytes and nats."""

    stage, role, revision = "assess", "assessment", 2

    def content(self) -> dict[str, Any]:
        """assessment.json. Raises InputError if not made yet."""
        found: dict[str, Any] = json.loads(self.path(ASSESSMENT).read_bytes())
        return found


@cache
def assessment_of(model_role: str) -> type[Assessment]:
    """The kind of artifact that is called `<flow>/assessment-<role of the model>`."""

    class AssessmentOfModel(Assessment):
        role = f"{Assessment.role}-{model_role}"

    return AssessmentOfModel


def form_of(model: Model) -> "PromptForm":
    """How the model is asked."""
    return "text" if model.stage in CONTINUING else "chat"


def assess(
    store: Store,
    model: Model,
    base: Model,
    scores: Scores,
    tokens: Tokens,
    vocabulary: Vocabulary,
    conversations: Artifact | None,
    config: AssessConfig,
    compute: Compute,
) -> Assessment:
    """Everything about one model, measured in Ray tasks, each part once; and a page to read.

    `scores` has the held-out text without what training repeats; `tokens` the training text;
    `conversations` the held-out questions (without them, nothing is answered). `base` tells a plan the
    model's shape and enters no key.
    """
    inputs: dict[str, Artifact | None] = {
        "model": model,
        "scores": scores,
        "tokens": tokens,
        "vocabulary": vocabulary,
        "conversations": conversations,
    }
    return store.make(
        assessment_of(model.role),
        config,
        inputs,
        partial(_build, inputs=inputs, config=config, compute=compute),
        content=_content(config.harness),
        work=partial(_work, base, scores, tokens, vocabulary, config, conversations is not None),
    )


def _content(config: HarnessConfig) -> dict[str, str]:
    """The identity of the files that tasks are read from."""
    given = {name: getattr(config, name) for name in HARNESS_FILES}
    return {f"harness.{name}": _digest(Path(path)) for name, path in given.items() if path is not None}


def _digest(path: Path) -> str:
    """Of a file, or of all files of a folder with their names."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    found = [(each.relative_to(path).as_posix(), sha256_of(each)) for each in files if each.is_file()]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _work(
    base: Model, scores: Scores, tokens: Tokens, vocabulary: Vocabulary, config: AssessConfig, asked: bool
) -> Work:
    """What is scored and written."""
    questions = config.questions if asked else 0
    counts = scores.counts()
    size = counts.get("held-out.scored_bytes", counts.get("bytes", 0))
    work = {"questions": questions, "bytes": size}
    shape = shape_of(base.config())
    if shape is None:
        return work
    stretches = 2 * config.stretches
    scored = size / vocabulary.bytes_per_token() + PAIR_TOKENS
    scored += stretches * (config.prefix_tokens + config.continued_tokens)
    tasks, instructions = config.tasks, config.instructions
    asked_tasks = len(tasks.names) * len(tasks.languages) * len(tasks.shots) * tasks.items
    written = (
        questions * ANSWERED_SHARE * config.max_answer_tokens
        + stretches * config.continued_tokens
        + asked_tasks * TASK_ANSWER_TOKENS
        + len(instructions.languages) * instructions.items * instructions.answer_tokens
    ) / TOGETHER + config.timed_questions * config.max_answer_tokens
    row = tokens.row_tokens
    return work | cost.added(
        cost.forward("eager.fp32", shape, vocabulary.pieces, row, scored, scored / row),
        cost.generation(shape, written),
    )


def _build(attempt: Attempt, inputs: dict[str, Any], config: AssessConfig, compute: Compute) -> Made:
    from pipeline.evaluation.assess_parts import Inputs, run_parts
    from pipeline.evaluation.assess_report import write_report

    given = Inputs(**inputs, config=config)
    return write_report(attempt, given, run_parts(attempt, given, compute))
