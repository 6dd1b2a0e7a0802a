"""A tiny chat model with questions and preferences, and trainings on them in plain processes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.alignment.align import DpoConfig, DpoJob, GrpoConfig, OnlineConfig, OnlineJob, RlooConfig
from pipeline.alignment.guards import GuardsConfig
from pipeline.alignment.preferences import Preferences
from pipeline.compute_config import ComputeConfig
from pipeline.models.model import Model
from pipeline.store import Artifact, Attempt, JournalReader, Made, Storage, Store
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.conversations import Conversations
from pipeline.user_function import read_function
from tests.evaluation.stand_ins import NoConfig, publish_model, random_model

RESOLVED = ComputeConfig(threads=1, checkpoint_seconds=0)
UNGUARDED = GuardsConfig(kl_ceiling=1e6, length_factor=1e6, repetition_rise=1, entropy_share=0)
"""Toys with random weights go far within a few steps."""
DPO = DpoConfig(
    steps=24,
    batch_rows=8,
    learning_rate=5e-3,
    precision="fp32",
    evaluations=2,
    answer_tokens=12,
    evaluation_prompts=6,
    guards=UNGUARDED,
)
GRPO = GrpoConfig(
    steps=6,
    batch_rows=4,
    answers=4,
    learning_rate=5e-3,
    precision="fp32",
    evaluations=2,
    answer_tokens=8,
    evaluation_prompts=4,
    guards=UNGUARDED,
    reward="rules.py:short",
)
RLOO = RlooConfig(**{**GRPO.model_dump(exclude={"scale"}), "kl_weight": 0.01})
COLOURS = ("red", "green", "blue", "white", "black")
THINGS = ("apple", "stone", "house", "river", "book", "cat", "tree", "star", "lamp", "road", "ship", "hat")
RULES = """
import time

def short(prompt, answer, ended, tokens, **row):
    return -len(answer)

def raises(prompt, answer, ended, tokens, **row):
    raise KeyError("no such colour")

def not_a_number(prompt, answer, ended, tokens, **row):
    return float("nan")

def dislikes_ships(prompt, answer, ended, tokens, **row):
    if "ship" in prompt[-1]["content"]:
        raise ValueError("no ships")
    return -tokens

def hangs(prompt, answer, ended, tokens, **row):
    time.sleep(1000)
"""


@dataclass(frozen=True)
class Toys:
    """What alignments begin with, in one store."""

    store: Store
    chat: Model
    preferences: Preferences
    conversations: Conversations
    rules: Path


def questions() -> list[list[dict[str, str]]]:
    return [
        [{"role": "user", "content": f"What is the {colour} {thing}?"}]
        for colour in COLOURS
        for thing in THINGS
    ]


def pairs() -> list[dict[str, Any]]:
    """A thing of the right colour is preferred."""
    found = []
    for number, prompt in enumerate(questions()):
        colour = prompt[0]["content"].split()[3]
        found.append(
            {
                "id": f"p{number:03}",
                "prompt": prompt,
                "chosen": f"It is {colour}.",
                "rejected": "I do not know that.",
            }
        )
    return found


def write_rows(kind: type[Artifact], store: Store, train: list[Any], held_out: list[Any]) -> Any:
    def build(attempt: Attempt) -> Made:
        files = {}
        for split, rows in {"train": train, "held-out": held_out}.items():
            name = f"{split}/00000.parquet"
            pq.write_table(pa.Table.from_pylist(rows), attempt.path(name))
            files[name] = attempt.publish(attempt.path(name))
        return Made(files, {"train": len(train), "held-out": len(held_out)})

    return store.make(kind, NoConfig(), {}, build)


def make_toys(folder: Path, vocabulary: Vocabulary) -> Toys:
    store = Store(str(folder / "store"))
    rows = pairs()
    talks = [{"id": row["id"], "messages": row["prompt"]} for row in rows]
    (folder / "rules.py").write_text(RULES)
    return Toys(
        store,
        publish_model(store, random_model(1024), vocabulary),
        write_rows(Preferences, store, rows[::2] + rows[1::4], rows[3::4]),
        write_rows(Conversations, store, talks, talks[:2]),
        folder / "rules.py",
    )


def dpo_job(toys: Toys, attempt: Attempt, config: DpoConfig = DPO) -> DpoJob:
    return DpoJob(attempt, toys.chat, config, RESOLVED, toys.preferences)


def online_job(toys: Toys, attempt: Attempt, config: OnlineConfig = GRPO, rule: str = "short") -> OnlineJob:
    reward = read_function(f"{toys.rules}:{rule}", "grpo.reward")
    return OnlineJob(attempt, toys.chat, config, RESOLVED, toys.conversations, reward)


def attempt_at(storage: Storage, key: str, id: str = "1") -> Attempt:
    return Attempt(storage, "aligned", key, id)


def lines_of(attempt: Attempt) -> Iterator[dict[str, Any]]:
    """What was journalled in all attempts at it so far, by this one."""
    return JournalReader(attempt.storage, f"{attempt.folder}/journal").read()


def values_of(attempt: Attempt, name: str) -> list[float]:
    return [line["values"][name] for line in lines_of(attempt) if name in line.get("values", {})]
