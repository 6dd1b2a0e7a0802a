"""From a model back to what it learned from: the documents of a training step, and those that have a text."""

import contextlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from flows.display import Display
from flows.references import find_artifact, names_by_base
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.text_index import TextIndex, TextIndexConfig, index_texts
from pipeline.errors import InputError
from pipeline.store import PlanningStore, Store, read_record
from pipeline.tokens.encode import Tokens
from pipeline.tokens.encoders import Encoder
from pipeline.tokens.markers import restore
from pipeline.tokens.mixture import TrainingRows, training_rows
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.pretrain import BaseModel
from pipeline.training.steps import STEPS, Steps


class NoSuchStepError(InputError):
    """A training has fewer steps than that."""

    remedy = "Steps count from 0; the message says which is the last."


class NotPretrainedError(InputError):
    """What was named was not pretrained here, so that there are no steps or documents to tell of."""

    remedy = "Name a run, or a model that a run has made, as `moinho ls` shows it."


class NoDocumentsLeftError(InputError):
    """The corpus of a model was discarded."""

    remedy = "Run its configuration again: it makes the corpus anew, and uses again what is there."


@dataclass(frozen=True)
class Piece:
    """A stretch of a document in a row of a step."""

    row: int
    text: str | None
    """Which of several texts that were mixed."""
    document: str
    url: str
    first_token: int
    """Of the stretch, counted from the document's beginning."""
    tokens: int
    content: str
    """The text that the stretch says."""


@dataclass(frozen=True)
class TracedStep:
    """What one step of a pretraining learned from."""

    model: str
    step: int
    steps: int
    """Of the whole training."""
    was_skipped: bool
    """Its loss or gradient was a spike, and no update was made."""
    pieces: tuple[Piece, ...]


def find_base(store: Store, reference: str) -> BaseModel:
    """The pretrained model that `reference` means, or that the model it means was made from; of a run's name
    its base. Raises UnknownArtifactError, NotPretrainedError."""
    own = f"{reference}/{BaseModel.role}"
    artifact = named = find_artifact(store, own if own in store.named() else reference)
    while artifact.stage != BaseModel.stage:
        above = [artifact.record.inputs[role] for role in ("base", "chat") if role in artifact.record.inputs]
        if not above:
            raise NotPretrainedError(
                f"{reference} is what the stage {named.stage} made, and no model that was pretrained here "
                "went into it: name a model"
            )
        artifact = find_artifact(store, f"{above[0].stage}/{above[0].key}")
    return BaseModel(artifact.storage, artifact.key)


def trace_step(base: BaseModel, step: int) -> TracedStep:
    """The rows of a step of its pretraining, and the documents in them. Raises NoSuchStepError."""
    steps = Steps.model_validate_json(base.path(STEPS).read_bytes())
    if not 0 <= step < steps.steps:
        raise NoSuchStepError(
            f"{base.base} has no step {step}: it has {steps.steps}, from 0 to {steps.steps - 1}"
        )
    rows, vocabulary = rows_of(base), Vocabulary(base.storage, base.record.inputs["vocabulary"].key)
    encoder, numbers = vocabulary.encoder(), steps.rows(step)
    batch, origins = rows.batch(np.array(numbers)), rows.origins(numbers)
    pieces = [
        Piece(
            row=row,
            text=steps.text_of(row),
            document=origin.document,
            url=origin.url,
            first_token=origin.start,
            tokens=origin.tokens,
            content=_content(encoder, batch.tokens_BT[place][batch.documents_BT[place] == number]),
        )
        for place, row in enumerate(numbers)
        for number, origin in enumerate(origins[row])
    ]
    return TracedStep(base.base, step, steps.steps, step in steps.skipped, tuple(pieces))


def _content(encoder: Encoder, ids: NDArray[np.int64]) -> str:
    """The text of the ids, without the signs that begin and end a document."""
    inside = [int(each) for each in ids if each not in (encoder.begin, encoder.end)]
    return restore(encoder.decode(inside), encoder.markers)


def rows_of(base: BaseModel) -> TrainingRows:
    """What it was pretrained on."""
    tokens = Tokens(base.storage, base.record.inputs["tokens"].key)
    given = base.record.inputs.get("general")
    general = Tokens(base.storage, given.key) if given is not None else None
    mixed = base.config().get("general")
    return training_rows(tokens, general, mixed["share"] if mixed else 0.0)


def corpora_of(base: BaseModel) -> list[Corpus]:
    """The documents that it was pretrained on, and those of the models that it began from, each once."""
    given = base.record.inputs
    tokens = [given[role] for role in ("tokens", "general") if role in given]
    records = [read_record(base.storage, f"{each.stage}/{each.key}") for each in tokens]
    found = [Corpus(base.storage, record.inputs["corpus"].key) for record in records if record is not None]
    start = given.get("start")
    if start is not None and start.stage == BaseModel.stage:
        found += corpora_of(BaseModel(base.storage, start.key))
    return list({corpus.key: corpus for corpus in found}.values())


def indexes_of(base: BaseModel, console: Console) -> list[TextIndex]:
    """An index of each of its corpora, named beside them; one that is not there yet is made, and shown.

    Raises NoDocumentsLeftError.
    """
    corpora = [corpus for corpus in corpora_of(base) if corpus.exists()]
    if not corpora:
        raise NoDocumentsLeftError(f"the documents that {base.base} learned from are no longer in the store")
    return [_index_of(corpus, console) for corpus in corpora]


def _index_of(corpus: Corpus, console: Console) -> TextIndex:
    root = corpus.storage.root
    compute = Compute(ComputeConfig(store=root))
    found = index_texts(PlanningStore(root), corpus, TextIndexConfig(), compute)
    if not found.exists():
        store = Store(root)
        with contextlib.ExitStack() as closing:
            closing.callback(compute.stop)
            store.listeners = [closing.enter_context(Display(console))]
            found = index_texts(store, corpus, TextIndexConfig(), compute)
        for name in names_by_base(store.named()).get(corpus.base, ()):
            store.name(f"{name.rpartition('/')[0]}/{found.role}", found)
    return found
