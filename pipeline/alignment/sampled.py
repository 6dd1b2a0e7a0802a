"""The stage that samples answers: two or more to each prompt, drawn from the chat model in Ray tasks.

What is drawn for a prompt hangs on the seed and the prompt's id alone, so that kills and the number of
workers change nothing.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import Field

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.errors import StageError
from pipeline.models import cost
from pipeline.models.model import Model
from pipeline.models.sizes import size_of
from pipeline.shards import ShardOutput, any_lost, counts_of, files_of
from pipeline.store import Artifact, Attempt, Made, Store, Work
from pipeline.training.conversations import Conversations

PROMPTS_PER_SHARD = 64
"""Prompts of a task. Whoever changes it may change a draw by rounding: bump the revision."""
WRITTEN_SHARE = 0.6
"""Of the longest answer that an answer has, as a plan reckons."""


class AnswersConfig(Config):
    """Which prompts are answered, how often, and how."""

    prompts: int = Field(default=1_000, ge=1)
    """Of the conversations to train on, so many are asked about at most; chosen by hash of seed and id."""
    answers: int = Field(default=2, ge=2)
    """Answers to each prompt."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the distribution that tokens are drawn from; 1 is the model's own."""
    max_tokens: int = Field(default=128, ge=1)
    """Longest answer; one that does not end by then is cut off there."""
    seed: int = 0
    """Which prompts, and what is drawn."""


class NoPromptsError(StageError):
    """No conversation has a prompt that the model could answer."""

    passes = False
    remedy = "Bring conversations whose prompts are shorter than the model's context."


class Answers(Artifact):
    """`train/NNNNN.parquet`: id, url, language, prompt (messages), answers ({text, tokens, ended})."""

    stage, role, revision = "answers", "answers", 1

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every prompt with its answers, in the order of ids."""
        import pyarrow.parquet as pq

        for path in self.paths("train/"):
            yield from pq.read_table(path).to_pylist()


@dataclass(frozen=True)
class Sampling:
    """The prompts of one task."""

    number: int
    chat: Model
    prompts: tuple[dict[str, Any], ...]
    config: AnswersConfig


def sample_answers(
    store: Store, chat: Model, conversations: Conversations, config: AnswersConfig, compute: Compute
) -> Answers:
    """Answers of the chat model to prompts of the conversations that are trained on.

    Raises NoPromptsError.
    """
    return store.make(
        Answers,
        config,
        {"chat": chat, "conversations": conversations},
        partial(_build, chat=chat, conversations=conversations, config=config, compute=compute),
        work=lambda: _work(chat, conversations, config),
    )


def seed_of(*parts: object) -> int:
    """A seed of 63 bits that hangs on all parts."""
    text = " ".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _work(chat: Model, conversations: Conversations, config: AnswersConfig) -> Work:
    prompts = min(config.prompts, conversations.counts().get("train", 0))
    answers = prompts * config.answers
    size = size_of(chat)
    if size is None:
        return {"prompts": prompts, "answers": answers}
    return {
        "prompts": prompts,
        "answers": answers,
        **cost.generation(size[0], answers * config.max_tokens * WRITTEN_SHARE),
    }


def _build(
    attempt: Attempt, chat: Model, conversations: Conversations, config: AnswersConfig, compute: Compute
) -> Made:
    prompts = asked(conversations.rows("train"), config)
    parts = [
        tuple(prompts[first : first + PROMPTS_PER_SHARD])
        for first in range(0, len(prompts), PROMPTS_PER_SHARD)
    ]
    shards = {f"{number:05}": Sampling(number, chat, part, config) for number, part in enumerate(parts)}
    gpus = 1 if compute.gpus() else 0
    records = compute.map_shards(attempt, "sample", shards, sample_shard, gpus=gpus)
    counts = counts_of(records)
    if not counts.get("answers"):
        raise NoPromptsError(
            f"none of {len(prompts)} prompts was answered: {counts.get('too-long', 0)} leave no room for an "
            "answer in the model's context; bring shorter conversations"
        )
    figures = {
        "ended_share": counts["ended"] / counts["answers"],
        "answer_tokens": counts["tokens"] / counts["answers"],
    }
    return Made(files_of(records), counts, figures, incomplete=any_lost(records))


def asked(rows: Iterator[dict[str, Any]], config: AnswersConfig) -> list[dict[str, Any]]:
    """Prompts, each once, chosen by hash and sorted by id: id, url, language, prompt."""
    from pipeline.alignment.prompts import before_the_answer

    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        messages = before_the_answer(row)
        if messages:
            known = {name: row.get(name) or "" for name in ("id", "url", "language")}
            found.setdefault(repr(messages), {**known, "prompt": messages})
    chosen = sorted(found.values(), key=lambda row: seed_of("prompt", config.seed, row["id"]))
    return sorted(chosen[: config.prompts], key=lambda row: str(row["id"]))


def sample_shard(sampling: Sampling, output: ShardOutput) -> Mapping[str, int]:
    """In a Ray task: the answers to these prompts, to `train/NNNNN.parquet`."""
    from pipeline.alignment.sampling_task import sample_prompts

    return sample_prompts(sampling, output)
