"""One page on its whole way: what was cut from it, a training row with it, and what the model made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flows.accounts import Chapter, RunArtifacts, kept_lines, rows_of_url, rows_with, story
from flows.references import made_from
from flows.tracing import NoDocumentsLeftError, rows_of, steps_of
from pipeline.corpus.clean import Documents
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.hold_out import Corpus
from pipeline.errors import InputError
from pipeline.models.model import Model
from pipeline.store import Store
from pipeline.tokens.encode import Tokens
from pipeline.tokens.rows import Origin
from pipeline.training.pretrain import BaseModel
from pipeline.training.pretrain_config import PretrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Line:
    """A line of the page's text as it was read."""

    text: str
    is_kept: bool


@dataclass(frozen=True)
class Piece:
    """A token of the page in its row, and how it surprised the model."""

    id: int
    text: str
    nats_before: float
    """Minus the log probability before the training; nothing of it was learned yet."""
    nats_after: float


@dataclass(frozen=True)
class LearnedRow:
    """A training row with a stretch of the page."""

    row: int
    steps: tuple[int, ...]
    """In whose batches it was."""
    first_token: int
    """Of the stretch, counted from the document's beginning."""
    beside: tuple[Origin, ...]
    """Other documents in the row; the model does not see them together."""
    pieces: tuple[Piece, ...]
    """All tokens of the stretch but its first, which nothing comes before."""


@dataclass(frozen=True)
class Followed:
    """A page's way through a run, as far as it went."""

    chapters: tuple[Chapter, ...]
    lines: tuple[Line, ...]
    """Empty of a page that was not read, or not kept."""
    learned: LearnedRow | None
    unlearned: str = ""
    """Why there is no row to show."""


def follow(store: Store, run: str, url: str) -> Followed:
    """Raises UnknownRunError, NoWebPageError, StaleArtifactError."""
    found = RunArtifacts(store, run)
    chapters, lines = tuple(story(found, url)), tuple(_lines(found, url))
    try:
        learned = _learned(found, url)
    except InputError as error:  # a page's way is worth telling where its losses cannot be had
        return Followed(chapters, lines, None, str(error))
    return Followed(chapters, lines, learned, "" if learned else "no row of a training has it")


def _lines(found: RunArtifacts, url: str) -> list[Line]:
    """The text that extraction read, and which of its lines cleaning left as they were."""
    raw, documents = found.get(RawDocuments), found.get(Documents)
    before = {row["id"]: row for row in rows_of_url(raw, "raw/", url)} if raw is not None else {}
    after = rows_of_url(documents, "kept/", url) if documents is not None else []
    texts = next(((before[row["id"]]["text"], row["text"]) for row in after if row["id"] in before), None)
    return [Line(*line) for line in kept_lines(*texts)] if texts else []


def _learned(found: RunArtifacts, url: str) -> LearnedRow | None:
    """The row that was learned from and has the longest stretch of the page; of equal ones the first.

    Raises NoDocumentsLeftError, FilesMissingError.
    """
    corpus, tokens, base = found.get(Corpus), found.get(Tokens), found.get(BaseModel)
    if corpus is None or tokens is None or base is None:
        return None
    documents = {row["id"] for row in rows_of_url(corpus, "train/", url)}
    numbers = {row for rows in rows_with(tokens, sorted(documents)).values() for row in rows}
    rows, steps = rows_of(base), steps_of(base)
    origins = rows.origins(numbers)
    here = [
        (not steps.uses(row), -origin.tokens, row, place)
        for row, inside in origins.items()
        for place, origin in enumerate(inside)
        if origin.document in documents
    ]
    if not here:
        return None
    *_, row, place = min(here)
    batch = rows.batch(np.array([row]))
    ids = [int(each) for each in batch.tokens_BT[0][batch.documents_BT[0] == place]]
    beside = tuple(origin for number, origin in enumerate(origins[row]) if number != place)
    first = origins[row][place].start
    return LearnedRow(row, tuple(steps.uses(row)), first, beside, tuple(_pieces(base, ids)))


def _pieces(base: BaseModel, ids: Sequence[int]) -> list[Piece]:
    """Each token with its surprise, before the training and after it."""
    import torch

    from pipeline.chat.terminal import visible
    from pipeline.evaluation.likelihood import token_nats
    from pipeline.models.generation import piece_bytes

    model, tokenizer = base.load(torch.float32)
    (after,) = token_nats(model, [ids])
    del model  # one of them in memory at a time
    (before,) = token_nats(_untrained(base, tokenizer), [ids])
    spelt = piece_bytes(tokenizer)
    return [
        Piece(id, visible(spelt[id]) or str(tokenizer.convert_ids_to_tokens(id)), one, other)
        for id, one, other in zip(ids[1:], before, after, strict=True)
    ]


def _untrained(base: BaseModel, tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    """The model as it was before its first step: drawn by the seed, or the one that was gone on from."""
    from pipeline.training.beginning import first_model

    begun_from = made_from(base, "start")
    if "start" in base.record.inputs and not isinstance(begun_from, Model):
        raise NoDocumentsLeftError(f"the model that {base.base} began from is no longer in the store")
    folder = begun_from.model_folder() if isinstance(begun_from, Model) else None
    settings = base.config()
    # Of a model that is gone on from the seed alone counts: its shape is its own.
    names = ("seed",) if folder is not None else PretrainConfig.model_fields
    known = {name: settings[name] for name in names if name in settings}
    row_tokens = rows_of(base).row_tokens
    model = first_model(PretrainConfig.model_validate(known), tokenizer, row_tokens, folder)
    model.train(False)
    return model
