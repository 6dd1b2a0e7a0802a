"""A small run of PPO: a random chat model, a few prompts, and a reward that the user wrote."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.alignment.ppo import PpoConfig, PpoJob
from pipeline.compute_config import ComputeConfig
from pipeline.models.model import Model
from pipeline.store import Attempt, Made, Store
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.conversations import Conversations
from pipeline.user_function import read_function
from tests.evaluation.stand_ins import NoConfig, publish_model, random_model

RULES = """
def many_different_letters(prompt, answer, ended, tokens, **row):
    return len(set(answer.lower())) / 10 - 0.1 * tokens + (row["language"] == "en")
"""
CONFIG = PpoConfig(
    steps=6,
    batch_rows=8,
    answer_tokens=12,
    learning_rate=1e-3,
    precision="fp32",
    evaluations=2,
    evaluation_prompts=4,
    shown_answers=2,
)
RESOLVED = ComputeConfig(threads=1, checkpoint_seconds=0, micro_batch_rows=4)
"""A checkpoint after every step."""


@dataclass(frozen=True)
class Toys:
    store: Store
    chat: Model
    conversations: Conversations
    rules: Path

    def job(self, id: str, key: str = "toy", config: PpoConfig = CONFIG, **compute: Any) -> PpoJob:
        return PpoJob(
            Attempt(self.store.storage, "ppo", key, id),
            self.chat,
            config,
            RESOLVED.model_copy(update=compute),
            self.conversations,
            read_function(f"{self.rules}:many_different_letters", "ppo.reward"),
        )


def make_toys(folder: Path, vocabulary: Vocabulary) -> Toys:
    store, rules = Store(str(folder / "store")), folder / "rules.py"
    rules.write_text(RULES)
    return Toys(store, publish_model(store, random_model(1024), vocabulary), _conversations(store), rules)


def _conversations(store: Store) -> Conversations:
    def build(attempt: Attempt) -> Made:
        files = {}
        for split, count in {"train": 24, "held-out": 6}.items():
            rows = [_row(f"{split} {number}" + " and on" * (number % 4)) for number in range(count)]
            name = f"{split}/00000.parquet"
            pq.write_table(pa.Table.from_pylist(rows), attempt.path(name))
            files[name] = attempt.publish(attempt.path(name))
        return Made(files, {"train": 24, "held-out": 6})

    return store.make(Conversations, NoConfig(), {}, build)


def _row(thing: str) -> dict[str, Any]:
    question, answer = f"What is {thing}?", f"It is {thing}."
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": thing, "url": "http://toys.test/", "language": "en", "messages": messages}
