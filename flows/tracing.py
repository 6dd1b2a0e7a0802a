"""From a model back to what it learned from: the documents of a training step, and those that have a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from flows.on_demand import found_or_made
from flows.references import find_artifact, made_from
from pipeline.compute import Compute
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.text_index import TextIndex, TextIndexConfig, index_texts
from pipeline.errors import InputError
from pipeline.models.start import StartModel
from pipeline.store import Artifact, Store
from pipeline.store.artifacts import FilesMissingError
from pipeline.tokens.encode import Tokens
from pipeline.tokens.encoders import Encoder
from pipeline.tokens.markers import restore
from pipeline.tokens.mixture import MixedRows, TrainingRows
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.pretrain import BaseModel
from pipeline.training.steps import STEPS, Steps

A = TypeVar("A", bound=Artifact)


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


def pretrained(store: Store, reference: str) -> BaseModel:
    """The pretrained model that `reference` means, or that the model it means was made from; of a run's name
    its base. Raises UnknownArtifactError, NotPretrainedError, StaleArtifactError."""
    own = f"{reference}/{BaseModel.role}"
    artifact = named = find_artifact(store, own if store.target_of(own) else reference)
    while artifact.stage != BaseModel.stage:
        role = _role_above(artifact)
        if role is None:
            raise NotPretrainedError(
                f"{reference} is what the stage {named.stage} made, and no model that was pretrained here "
                "went into it: name a model"
            )
        given, above = artifact.record.inputs[role], made_from(artifact, role)
        if above is None:
            raise NotPretrainedError(
                f"{reference} was made from {given.stage}/{given.key}, which is no longer in the store: run "
                "its configuration again"
            )
        artifact = above
    return BaseModel(artifact.storage, artifact.key)


def _role_above(artifact: Artifact) -> str | None:
    """As what the model that it was tuned from was given to it."""
    return next((role for role in ("base", "chat") if role in artifact.record.inputs), None)


def trace_step(base: BaseModel, step: int) -> TracedStep:
    """The rows of a step of its pretraining, and the documents in them. Raises NoSuchStepError."""
    steps = steps_of(base)
    if not 0 <= step < steps.steps:
        raise NoSuchStepError(
            f"{base.base} has no step {step}: it has {steps.steps}, from 0 to {steps.steps - 1}"
        )
    rows, vocabulary = rows_of(base), _needed(base, "vocabulary", Vocabulary)
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


def steps_of(base: BaseModel) -> Steps:
    """Which rows each of its steps took. Raises FilesMissingError."""
    if STEPS not in base.record.files:
        raise FilesMissingError(f"{base.base} has no {STEPS}: which rows its steps took was not recorded")
    return Steps.model_validate_json(base.path(STEPS).read_bytes())


def rows_of(base: BaseModel) -> TrainingRows:
    """What it was pretrained on. Raises NoDocumentsLeftError, StaleArtifactError, FilesMissingError."""
    own, mixture = _needed(base, "tokens", Tokens).rows("train"), steps_of(base).mixture
    if mixture is None:
        return own
    given = ("general",) if "general" in base.record.inputs else ()
    parts = (own, *(_needed(base, role, Tokens).rows("train") for role in given))
    return MixedRows(parts, mixture.names, mixture.rows, mixture.stretches())


def _needed(base: BaseModel, role: str, kind: type[A]) -> A:
    found = made_from(base, role)
    if not isinstance(found, kind):
        given = base.record.inputs[role]
        raise NoDocumentsLeftError(
            f"{base.base} learned from {given.stage}/{given.key}, which is no longer in the store"
        )
    return found


@dataclass(frozen=True)
class Learned:
    """What a model learned from, as far as the store has it."""

    corpora: tuple[Corpus, ...]
    unknown: tuple[str, ...]
    """What cannot be looked through, in words."""


def learned_by(base: BaseModel) -> Learned:
    """The documents that it was pretrained on, and those of the models that it began from.

    Raises StaleArtifactError.
    """
    corpora: dict[str, Corpus] = {}
    unknown: list[str] = []
    for role in ("tokens", "general"):
        if role not in base.record.inputs:
            continue
        tokens = made_from(base, role)
        corpus = made_from(tokens, "corpus") if tokens is not None else None
        if isinstance(corpus, Corpus):
            corpora[corpus.key] = corpus
        else:
            unknown.append(f"the documents of {base.base} ({role}) are no longer in the store")
    if "start" in base.record.inputs:
        above = _begun_from(base)
        if isinstance(above, str):
            unknown.append(above)
        else:
            more = learned_by(above)
            corpora |= {corpus.key: corpus for corpus in more.corpora}
            unknown += more.unknown
    return Learned(tuple(corpora.values()), tuple(unknown))


def _begun_from(base: BaseModel) -> "BaseModel | str":
    """The pretrained model below the one that it began from, or why there is none to look into."""
    artifact = made_from(base, "start")
    while artifact is not None and artifact.stage != BaseModel.stage:
        if artifact.stage == StartModel.stage:
            return f"{base.base} began from a foreign model, and what that learned from is not known"
        role = _role_above(artifact)
        artifact = made_from(artifact, role) if role is not None else None
    if artifact is None:
        return f"the model that {base.base} began from is no longer in the store"
    return BaseModel(artifact.storage, artifact.key)


def indexes_of(corpora: Sequence[Corpus], console: Console) -> list[TextIndex]:
    """An index of each corpus; one that is not in the store yet is made, and shown."""
    return [found_or_made(corpus.storage.root, partial(_index, corpus=corpus), console) for corpus in corpora]


def _index(store: Store, compute: Compute, corpus: Corpus) -> TextIndex:
    return index_texts(store, corpus, TextIndexConfig(), compute)
