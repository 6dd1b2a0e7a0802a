"""The stage that evaluates: what the models learned, measured on text that they never saw."""

import json
from functools import partial
from typing import Any

from pydantic import Field

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.errors import StageError
from pipeline.models import cost
from pipeline.models.families import shape_of
from pipeline.models.model import Model
from pipeline.store import Artifact, Attempt, Made, Store, Work
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary

SCORES, SAMPLES = "scores.json", "samples.md"
ANSWERED_SHARE = 0.5
"""Of an answer's limit that an answer has, as a plan reckons; a good one ends long before."""


class EvaluateConfig(Config):
    """How much is asked, drawn and written in an evaluation."""

    sentences: int = Field(default=100, ge=0)
    """Held-out sentences whose next word is foretold."""
    top_words: int = Field(default=10, ge=1)
    """The true next word must be among this many."""
    questions: int = Field(default=100, ge=0)
    """Held-out questions that the chat model answers."""
    max_answer_tokens: int = Field(default=128, ge=1)
    """An answer must have ended by then, in tokens."""
    prompts: tuple[str, ...] = ()
    """Texts that the base model continues in samples.md, beside openings of held-out documents."""
    sample_documents: int = Field(default=4, ge=0)
    """Held-out documents whose opening words are continued."""
    sample_questions: int = Field(default=8, ge=0)
    """Answers that are written out."""
    sample_tokens: int = Field(default=64, ge=1)
    """Length of a continuation, in tokens."""
    prime_bytes: int = Field(default=64 << 20, ge=0)
    """No more than this much of the training text (its end, in UTF-8 bytes) is given to xz beforehand."""
    ngram_tokens: int = Field(default=20_000_000, ge=1)
    """No more than this many training tokens (the last) are counted by the n-gram model."""
    seed: int = 0
    """Which sentences and questions are drawn."""


class NothingToScoreError(StageError):
    """Training text repeats all held-out text."""

    passes = False
    remedy = "Crawl more pages, or hold out a larger share of them ([hold_out])."


class TextLostError(StageError):
    """The pieces that were cut from a held-out text are not that text."""

    remedy = "Discard the vocabulary with `moinho rm` and make it again: it was made by another version."


class Scores(Artifact):
    """`scores.json`, bar charts in `plots/`, `samples.md`; `held-out.parquet` has the scored text."""

    stage, role, revision = "evaluate", "scores", 1

    def scores(self) -> dict[str, Any]:
        """The content of scores.json. Raises InputError if not made yet."""
        found: dict[str, Any] = json.loads(self.path(SCORES).read_bytes())
        return found


def evaluate(
    store: Store,
    corpus: Artifact,
    tokens: Tokens,
    vocabulary: Vocabulary,
    conversations: Artifact | None,
    base: Model,
    chat: Model | None,
    config: EvaluateConfig,
    compute: Compute,
) -> Scores:
    """Score the base model on held-out text and the chat model on held-out questions, as Ray tasks.

    `corpus` has files `train/*.parquet` and `held-out/*.parquet` with columns id, url, language,
    text; `conversations` has `held-out/*.parquet` with id, language, messages. Without
    conversations or chat model, what needs them is left out.
    Raises NothingToScoreError if no held-out passage is new.
    """
    inputs = {
        "corpus": corpus,
        "tokens": tokens,
        "vocabulary": vocabulary,
        "conversations": conversations,
        "base": base,
        "chat": chat,
    }
    return store.make(
        Scores,
        config,
        inputs,
        partial(_build, inputs=inputs, config=config, compute=compute),
        work=partial(_work, corpus, tokens, vocabulary, base, chat, config),
    )


def _work(
    corpus: Artifact,
    tokens: Tokens,
    vocabulary: Vocabulary,
    base: Model,
    chat: Model | None,
    config: EvaluateConfig,
) -> Work:
    """What is scored and asked; and of a base model that was pretrained here, what that computes."""
    size, shape = corpus.counts().get("held-out.bytes", 0), shape_of(base.config())
    asked = config.questions if chat is not None else 0
    work = {"bytes": size, "train_bytes": corpus.counts().get("train.bytes", 0), "questions": asked}
    if shape is None:
        return work
    row, pieces = tokens.row_tokens, vocabulary.pieces
    scored = size / vocabulary.bytes_per_token()
    answered = asked * config.max_answer_tokens * ANSWERED_SHARE
    written = answered + config.sample_tokens * config.sample_documents
    return work | cost.added(
        cost.forward("eager.fp32", shape, pieces, row, scored, scored / row),
        cost.generation(shape, written),
    )


def _build(attempt: Attempt, inputs: dict[str, Any], config: EvaluateConfig, compute: Compute) -> Made:
    from pipeline.evaluation.parts import Inputs, run_parts
    from pipeline.evaluation.report import write_report

    results, held_out = run_parts(attempt, Inputs(**inputs, config=config), compute)
    return write_report(attempt, results, held_out)
