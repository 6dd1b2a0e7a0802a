"""Fine-tunings of a random toy model in this process or in one that is killed: no Ray."""

import dataclasses
from pathlib import Path

from transformers import PreTrainedModel

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.models.model import Model
from pipeline.store import Attempt, Made, Storage, Store
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.conversations import Conversations, write_conversations
from pipeline.training.finetune import ChatModel, FinetuneConfig, Job
from pipeline.training.group import Group
from pipeline.training.tuning import tune
from pipeline.training.tuning_config import made_by
from tests.evaluation.stand_ins import publish_model, random_model
from tests.training.test_conversations import Documents, talk, user_file
from tests.training.tuning_processes import tune_until

CONFIG = FinetuneConfig(
    steps=40, batch_rows=8, learning_rate=5e-3, precision="fp32", evaluations=2, shown_questions=2
)
RESOLVED = ComputeConfig(threads=1, checkpoint_seconds=0)
COLOURS = ("red", "green", "blue", "white", "black")
THINGS = ("apple", "stone", "house", "river", "book", "cat", "tree", "star", "lamp", "road", "ship", "hat")


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a fine-tuning begins with."""

    store: Store
    base: Model
    conversations: Conversations


def inputs_in(
    folder: Path, vocabulary: Vocabulary, compute: Compute, model: PreTrainedModel | None = None
) -> Inputs:
    """A random model if none is given, and conversations whose answers are always of one form; one is far too
    long."""
    store = Store(str(folder / "store"))
    rows = [
        talk(f"What is the {colour} {thing}?", f"It is a {colour} thing.")
        for colour in COLOURS
        for thing in THINGS
    ]
    config = user_file(folder, [*rows, talk("Long?", "far too long " * 100)])
    config = config.model_copy(update={"held_out_share": 0.2})
    chats = write_conversations(store, Documents(Storage("nowhere"), "none"), config, compute)
    base = publish_model(store, model or random_model(1024), vocabulary)
    return Inputs(store, base, chats)


def tuned(given: Inputs, config: FinetuneConfig, compute: ComputeConfig = RESOLVED) -> ChatModel:
    """The stage's artifact, made in this process."""

    def build(attempt: Attempt) -> Made:
        tune(Job(attempt, given.base, config, compute, given.conversations), Group.alone())
        return made_by(attempt)

    inputs = {"base": given.base, "conversations": given.conversations}
    return given.store.make(ChatModel, config, inputs, build)


def run_until(given: Inputs, key: str, id: str, kill_at: int | None, config: FinetuneConfig) -> Attempt:
    """Fine-tune in a process of its own, which is killed once it has done so many steps."""
    attempt = Attempt(given.store.storage, "finetune", key, id)
    job = Job(attempt, given.base, config, RESOLVED, given.conversations)
    tune_until(job, kill_at)
    return attempt
